/* Tells of each TCP connection that ends: its round trips, how long it was open, what passed. */
#include "means.h"
#include "event.h"

/* A connection that is open. */
struct opened {
	__u64 time; /* ns since boot */
	__u32 is_server, zero;
};

/* debug/probe/events.py unpacks it. */
struct ended {
	struct event event; /* `took` is how long it was open, 0 if it began before this program */
	__u64 sent, received; /* bytes: those that were acknowledged, those that came in order */
	__u32 trip, least; /* us: the smoothed round trip, eightfold; the least one of the last minutes */
	__u32 again; /* segments that were sent again */
	__u32 role; /* enum role */
};

enum role { UNKNOWN, CLIENT, SERVER };

/* By socket. */
RECENT(living, __u64, struct opened);

static inline void open(struct sock *sk, int before)
{
	struct opened opened = {};
	__u64 key = (__u64)sk;
	__u16 protocol = 0;

	COPY(protocol, sk->sk_protocol);
	if (protocol != IPPROTO_TCP)
		return;
	opened.time = bpf_ktime_get_ns();
	opened.is_server = before != TCP_SYN_SENT;
	UPDATE(living, &key, &opened);
}

static inline void read_connection(struct ended *ended, struct tcp_sock *connection)
{
	COPY(ended->sent, connection->bytes_acked);
	COPY(ended->received, connection->bytes_received);
	COPY(ended->trip, connection->srtt_us);
	COPY(ended->least, connection->rtt_min.s[0].v);
	COPY(ended->again, connection->total_retrans);
}

static inline void end(struct sock *sk)
{
	struct ended ended = {};
	__u64 key = (__u64)sk;
	struct opened *known = LOOKUP(living, &key);
	__u16 protocol = 0, port = 0;

	COPY(protocol, sk->sk_protocol);
	if (protocol != IPPROTO_TCP)
		return;
	ended.event.time = bpf_ktime_get_ns();
	if (known) {
		ended.event.took = ended.event.time - known->time;
		ended.role = known->is_server ? SERVER : CLIENT;
		DELETE(living, &key);
	}
	read_ends(&ended.event, &sk->__sk_common);
	COPY(port, ((struct inet_sock *)sk)->inet_sport);
	ended.event.source_port = ntohs(port);
	read_connection(&ended, (struct tcp_sock *)sk);
	if (EMIT(&ended))
		lose();
}

PROGRAM(inet_sock_set_state)
int on_state(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock *sk = (struct sock *)ctx->args[0];
	int before = ctx->args[1], state = ctx->args[2];

	if (state == TCP_ESTABLISHED)
		open(sk, before);
	else if (state == TCP_CLOSE && before != TCP_SYN_SENT && before != TCP_SYN_RECV &&
		 before != TCP_LISTEN && before != TCP_CLOSE)
		end(sk);
	return 0;
}
