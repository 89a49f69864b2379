/* Tells of each TCP segment that is sent again, and of each answer to a SYN that is. */
#include "means.h"
#include "event.h"

static inline void tell(struct event *event)
{
	event->time = bpf_ktime_get_ns();
	if (EMIT(event))
		lose();
}

PROGRAM(tcp_retransmit_skb)
int on_segment(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	struct event event = {};

	read_ends(&event, &sk->__sk_common);
	COPY(event.state, sk->__sk_common.skc_state);
	tell(&event);
	return 0;
}

PROGRAM(tcp_retransmit_synack)
int on_answer(struct bpf_raw_tracepoint_args *ctx)
{
	struct request_sock *request = (struct request_sock *)ctx->args[1];
	struct event event = {};

	read_ends(&event, &request->__req_common);
	event.is_answer = 1;
	tell(&event);
	return 0;
}
