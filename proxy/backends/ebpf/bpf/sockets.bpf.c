/* Balancing at the socket: what starts on this node is sent to an endpoint before there is a packet.
 *
 *   connect, sendmsg      a Service's address becomes an endpoint's
 *   getpeername, recvmsg  and back, so that the program sees whom it called
 *   sock_release          a connection that was counted has ended
 *   packets out and in    are counted, if that is asked for
 *
 * A hook changes only where a connection goes to. Where an endpoint has to see another source than
 * the socket's own (masquerading), where a client has to stick to an endpoint, where the kernel
 * tracks a flow (connected UDP), and where packets are to be refused without an answer, it leaves
 * everything as it is, and the packets meet nftables' rules, which mean the same.
 */
#include "maps.h"
#include "choice.h"
#include "load.h"
#include "origin.h"
#include "traffic.h"

#define ECONNREFUSED 111

enum fate { AS_IT_IS, TRANSLATED, REFUSED };

/* The pool for a process of the node. Its source is chosen on the way to the endpoint, so that it
 * is what masquerading would make of it, unless the socket is bound; nobody knows it yet.
 */
static __always_inline bool pool_for_node(const struct forward *forward, struct pool *pool)
{
	*pool = (struct pool){forward->pool, forward->count};
	if (forward->has_inside)
		*pool = (struct pool){forward->inside, forward->inside_count};
	return !forward->affinity && !forward->ranges;
}

/* The pool for a process in another network namespace; false where packets have to be seen. */
static __always_inline bool pool_for_pod(const struct forward *forward, const struct settings *set,
					 __u64 cookie, int family, struct pool *pool,
					 struct address *source)
{
	__u8 bit = 1 << family;
	bool is_pod;

	*pool = (struct pool){forward->pool, forward->count};
	if (forward->masquerade == ALWAYS || set->by_interface & bit)
		return false;
	if (!find_origin(cookie, family, source) || !admits(forward, source))
		return false;
	is_pod = set->tells_pods & bit && is_within(source, &set->pods[family & 1]);
	if (forward->masquerade == NOT_PODS && !is_pod)
		return false;
	if (forward->has_inside && is_pod)
		*pool = (struct pool){forward->inside, forward->inside_count};
	return !has_member(pool, source, 0); /* who may be sent to itself has to be masqueraded */
}

/* An endpoint: the one that this client has, or by UDP this socket had, as long as it serves.
 * At random even where packets go by their hash: the source port, by which a client's connections
 * differ, is not chosen yet.
 */
static __always_inline struct target *pick(const struct forward *forward, const struct pool *pool,
					   const struct settings *set, const struct talk *talk,
					   const struct address *source)
{
	bool is_udp = talk->with.protocol == IPPROTO_UDP;
	struct target *had = is_udp ? bpf_map_lookup_elem(&choices, talk) : NULL;

	if (forward->affinity)
		return stick(forward, pool, set, source, bpf_get_prandom_u32());
	if (had && has_member(pool, &had->address, had->port))
		return had;
	if (forward->to_fewest)
		return one_of_two(pool, set);
	return any_of(pool, set, bpf_get_prandom_u32());
}

/* Remembers that a socket's call of `talk->with` goes to `end`. */
static __always_inline void remember(const struct forward *forward, const struct settings *set,
				     struct talk *talk, const struct target *end)
{
	struct target whom = talk->with, *had = NULL;

	if (whom.protocol == IPPROTO_UDP)
		had = bpf_map_lookup_elem(&choices, talk);
	if (!had || had->port != end->port || !is_same(&had->address, &end->address))
		tally(forward); /* not one more datagram of the same flow */
	if (whom.protocol == IPPROTO_UDP)
		bpf_map_update_elem(&choices, talk, end, BPF_ANY);
	else if (forward->to_fewest)
		joined(&talk->socket, end);
	talk->with = *end;
	bpf_map_update_elem(&callees, talk, &whom, BPF_ANY);
	if (set->sees_traffic)
		bpf_map_update_elem(&parties, talk, &forward->portal, BPF_ANY);
}

/* What becomes of a socket's call of `whom`, which is then an endpoint if it is translated. */
static __always_inline enum fate balance(struct bpf_sock_addr *ctx, struct target *whom)
{
	__u32 zero = 0;
	const struct settings *set = bpf_map_lookup_elem(&settings, &zero);
	bool is_udp = whom->protocol == IPPROTO_UDP;
	int family = is_ipv4(&whom->address) ? 0 : 1;
	__u64 cookie = bpf_get_netns_cookie(ctx);
	struct talk talk = {.socket = bpf_get_socket_cookie(ctx), .with = *whom};
	struct address source = {};
	struct forward *forward;
	struct target *found, end;
	struct pool pool;

	if (!set)
		return AS_IT_IS;
	forward = find_forward(whom, set, cookie == set->node);
	if (!forward || forward->by_nftables)
		return AS_IT_IS;
	if (!(cookie == set->node ? pool_for_node(forward, &pool)
				  : pool_for_pod(forward, set, cookie, family, &pool, &source)))
		return AS_IT_IS;
	if (!pool.count && forward->rejects && !is_udp) {
		tally(forward);
		return REFUSED;
	}
	if (!pool.count)
		return AS_IT_IS;
	found = pick(forward, &pool, set, &talk, &source);
	if (!found)
		return AS_IT_IS; /* the pool has just been replaced */
	end = *found;
	remember(forward, set, &talk, &end);
	*whom = end;
	return TRANSLATED;
}

/* Whom the program behind a socket knows `end` as. */
static __always_inline struct target *callee(struct bpf_sock_addr *ctx, const struct target *end)
{
	struct talk talk = {.socket = bpf_get_socket_cookie(ctx), .with = *end};

	return bpf_map_lookup_elem(&callees, &talk);
}

static __always_inline void read4(struct bpf_sock_addr *ctx, struct target *target)
{
	target->address.word[2] = bpf_htonl(0xffff);
	target->address.word[3] = ctx->user_ip4;
	target->port = ctx->user_port;
}

static __always_inline void write4(struct bpf_sock_addr *ctx, const struct target *target)
{
	ctx->user_ip4 = target->address.word[3];
	ctx->user_port = target->port;
}

static __always_inline void read6(struct bpf_sock_addr *ctx, struct target *target)
{
	target->address.word[0] = ctx->user_ip6[0];
	target->address.word[1] = ctx->user_ip6[1];
	target->address.word[2] = ctx->user_ip6[2];
	target->address.word[3] = ctx->user_ip6[3];
	target->port = ctx->user_port;
}

static __always_inline void write6(struct bpf_sock_addr *ctx, const struct target *target)
{
	ctx->user_ip6[0] = target->address.word[0];
	ctx->user_ip6[1] = target->address.word[1];
	ctx->user_ip6[2] = target->address.word[2];
	ctx->user_ip6[3] = target->address.word[3];
	ctx->user_port = target->port;
}

static __always_inline bool is_bound4(struct bpf_sock_addr *ctx)
{
	return ctx->sk->src_ip4;
}

static __always_inline bool is_bound6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct address source = {{sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]}};

	return !is_unset(&source);
}

static __always_inline bool has_source6(struct bpf_sock_addr *ctx)
{
	return ctx->msg_src_ip6[0] || ctx->msg_src_ip6[1] || ctx->msg_src_ip6[2] ||
	       ctx->msg_src_ip6[3];
}

/* Lets a connect or a sendmsg proceed; 0 is a refusal. */
static __always_inline int proceed(enum fate fate)
{
	if (fate != REFUSED)
		return 1;
	bpf_set_retval(-ECONNREFUSED);
	return 0;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct target whom = {.protocol = ctx->protocol};
	enum fate fate;

	if (ctx->protocol != IPPROTO_TCP || is_bound4(ctx))
		return 1;
	read4(ctx, &whom);
	fate = balance(ctx, &whom);
	if (fate == TRANSLATED)
		write4(ctx, &whom);
	return proceed(fate);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct target whom = {.protocol = ctx->protocol};
	enum fate fate;

	if (ctx->protocol != IPPROTO_TCP || is_bound6(ctx))
		return 1;
	read6(ctx, &whom);
	fate = balance(ctx, &whom);
	if (fate == TRANSLATED)
		write6(ctx, &whom);
	return proceed(fate);
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	struct target whom = {.protocol = IPPROTO_UDP};

	if (ctx->protocol != IPPROTO_UDP || is_bound4(ctx) || ctx->msg_src_ip4)
		return 1;
	read4(ctx, &whom);
	if (balance(ctx, &whom) == TRANSLATED)
		write4(ctx, &whom);
	return 1;
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	struct target whom = {.protocol = IPPROTO_UDP};

	if (ctx->protocol != IPPROTO_UDP || is_bound6(ctx) || has_source6(ctx))
		return 1;
	read6(ctx, &whom);
	if (balance(ctx, &whom) == TRANSLATED)
		write6(ctx, &whom);
	return 1;
}

static __always_inline int restore4(struct bpf_sock_addr *ctx)
{
	struct target end = {}, *whom;

	read4(ctx, &end);
	whom = callee(ctx, &end);
	if (whom)
		write4(ctx, whom);
	return 1;
}

static __always_inline int restore6(struct bpf_sock_addr *ctx)
{
	struct target end = {}, *whom;

	read6(ctx, &end);
	whom = callee(ctx, &end);
	if (whom)
		write6(ctx, whom);
	return 1;
}

/* A program closed its socket, or died. */
SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx)
{
	__u64 socket = bpf_get_socket_cookie(ctx);

	left(&socket);
	return 1;
}

SEC("cgroup_skb/egress")
int go_out(struct __sk_buff *skb)
{
	see(skb, false);
	return 1;
}

SEC("cgroup_skb/ingress")
int come_back(struct __sk_buff *skb)
{
	see(skb, true);
	return 1;
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	return restore4(ctx);
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	return restore6(ctx);
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	return restore4(ctx);
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	return restore6(ctx);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
