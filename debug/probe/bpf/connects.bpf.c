/* Tells how long each TCP connect took, from the SYN to the answer, or how it failed. */
#include "means.h"
#include "event.h"

/* By socket: connects that have no answer yet. */
RECENT(begun, __u64, struct event);

static inline void begin(struct sock *sk)
{
	struct event event = {};
	__u64 key = (__u64)sk;
	__u16 protocol = 0;

	COPY(protocol, sk->sk_protocol);
	if (protocol != IPPROTO_TCP)
		return;
	event.time = bpf_ktime_get_ns();
	event.pid = bpf_get_current_pid_tgid() >> 32;
	event.state = TCP_SYN_SENT;
	bpf_get_current_comm(&event.command, sizeof(event.command));
	read_ends(&event, &sk->__sk_common);
	UPDATE(begun, &key, &event);
}

static inline void end(struct sock *sk, int state)
{
	struct event event = {};
	__u64 key = (__u64)sk;
	struct event *known = LOOKUP(begun, &key);
	__u16 port = 0;

	if (!known)
		return;
	event = *known;
	DELETE(begun, &key);
	event.took = bpf_ktime_get_ns() - event.time;
	event.state = state;
	COPY(event.error, sk->sk_err);
	read_ends(&event, &sk->__sk_common); /* the source is chosen after the socket has its state */
	COPY(port, ((struct inet_sock *)sk)->inet_sport); /* stays when the socket gives it back */
	event.source_port = ntohs(port);
	if (EMIT(&event))
		lose();
}

PROGRAM(inet_sock_set_state)
int on_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	int before = ctx->args[1], state = ctx->args[2];

	if (state == TCP_SYN_SENT)
		begin(sk);
	else if (before == TCP_SYN_SENT)
		end(sk, state);
	return 0;
}
