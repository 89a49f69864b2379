/* Balancing at the socket: calls from this node go to an endpoint before there is a packet.
 *
 *   connect, sendmsg       replace a Service's address by an endpoint's
 *   getpeername, recvmsg   replace it back, so that the process sees the address that it called
 *   sock_release           ends a counted connection
 *   count_ingress, _egress count packets, if the proxy is asked to
 *
 * A hook can change only the destination. It leaves these calls unchanged, and their packets meet
 * nftables' rules, which have the same meaning: calls to be masqueraded, because the endpoint has to
 * see another source; the node's calls of Services with session affinity or source ranges; connected
 * UDP, whose flow has to be tracked; calls to be dropped.
 */
#include "maps.h"
#include "endpoint.h"
#include "least_connections.h"
#include "pod_address.h"
#include "traffic.h"

#define ECONNREFUSED 111

enum fate { AS_IT_IS, TRANSLATED, REFUSED };

/* Finds the pool for a process of the node; false if packets have to be seen. An unbound socket's
 * source is chosen by the route to the endpoint, so it is the one that masquerading would give. The
 * source is not known yet, so affinity and source ranges cannot be applied here.
 */
static __always_inline bool pool_for_node(const struct forward *forward, struct pool *pool)
{
	*pool = (struct pool){forward->pool, forward->count};
	if (forward->has_inside)
		*pool = (struct pool){forward->inside, forward->inside_count};
	return !forward->affinity && !forward->ranges;
}

/* Finds the pool for a process in another network namespace; false if packets have to be seen. */
static __always_inline bool pool_for_pod(const struct forward *forward, const struct settings *set,
					 __u64 cookie, int family, struct pool *pool,
					 struct address *source)
{
	__u8 bit = 1 << family;
	bool is_pod;

	*pool = (struct pool){forward->pool, forward->count};
	if (forward->masquerade == ALWAYS || set->pods_by_interface & bit)
		return false;
	if (!find_pod_address(cookie, family, source) || !admits(forward, source))
		return false;
	is_pod = set->pods_by_range & bit && is_within(source, &set->pods[family & 1]);
	if (forward->masquerade == NOT_PODS && !is_pod)
		return false;
	if (forward->has_inside && is_pod)
		*pool = (struct pool){forward->inside, forward->inside_count};
	return !has_member(pool, source, 0); /* a call of itself has to be masqueraded */
}

/* Chooses an endpoint. A UDP socket keeps its endpoint as long as that serves, whatever policies and
 * hints say of new calls; a client with affinity as long as it is chosen for new calls. Other calls choose at random, even if packets choose by hash: the source port,
 * in which a client's connections differ, is not known yet.
 */
static __always_inline struct target *
choose_endpoint(const struct forward *forward, const struct pool *pool, const struct settings *set,
		const struct socket_peer *peer, const struct address *source)
{
	bool is_udp = peer->target.protocol == IPPROTO_UDP;
	struct target *had = is_udp ? bpf_map_lookup_elem(&choices, peer) : NULL;

	if (had && membership(pool, &had->address, had->port) == LASTING)
		return had;
	if (!pool->count)
		return NULL;
	if (forward->affinity)
		return sticky_endpoint(forward, pool, set, source, bpf_get_prandom_u32());
	if (had && has_member(pool, &had->address, had->port))
		return had;
	if (forward->least_connections)
		return less_loaded(pool, set);
	return endpoint_at(pool, set, bpf_get_prandom_u32());
}

/* Remembers that a socket's call of `peer->target` goes to `endpoint`. */
static __always_inline void remember(const struct forward *forward, const struct settings *set,
				     struct socket_peer *peer, const struct target *endpoint)
{
	struct target destination = peer->target, *had = NULL;

	if (destination.protocol == IPPROTO_UDP)
		had = bpf_map_lookup_elem(&choices, peer);
	if (!had || had->port != endpoint->port || !is_same(&had->address, &endpoint->address))
		count_connection(forward); /* not for each datagram of a flow */
	if (destination.protocol == IPPROTO_UDP)
		bpf_map_update_elem(&choices, peer, endpoint, BPF_ANY);
	else if (forward->least_connections)
		add_connection(&peer->socket, endpoint);
	peer->target = *endpoint;
	bpf_map_update_elem(&callees, peer, &destination, BPF_ANY);
	if (set->counts_packets)
		bpf_map_update_elem(&parties, peer, &forward->portal, BPF_ANY);
}

/* Decides a socket's call of `destination`, which becomes the endpoint if the call is TRANSLATED. */
static __always_inline enum fate balance(struct bpf_sock_addr *ctx, struct target *destination)
{
	__u32 zero = 0;
	const struct settings *set = bpf_map_lookup_elem(&settings, &zero);
	bool is_udp = destination->protocol == IPPROTO_UDP;
	int family = is_ipv4(&destination->address) ? 0 : 1;
	__u64 cookie = bpf_get_netns_cookie(ctx);
	struct socket_peer peer = {.socket = bpf_get_socket_cookie(ctx), .target = *destination};
	struct address source = {};
	struct forward *forward;
	struct target *found, endpoint;
	struct pool pool;

	if (!set)
		return AS_IT_IS;
	forward = find_forward(destination, set, cookie == set->node);
	if (!forward || forward->by_nftables)
		return AS_IT_IS;
	if (!(cookie == set->node ? pool_for_node(forward, &pool)
				  : pool_for_pod(forward, set, cookie, family, &pool, &source)))
		return AS_IT_IS;
	if (!pool.count && forward->rejects && !is_udp) {
		count_connection(forward);
		return REFUSED;
	}
	found = choose_endpoint(forward, &pool, set, &peer, &source);
	if (!found)
		return AS_IT_IS; /* there is none, or the pool was replaced meanwhile */
	endpoint = *found;
	remember(forward, set, &peer, &endpoint);
	*destination = endpoint;
	return TRANSLATED;
}

/* Returns the address that the process called to reach `endpoint`. */
static __always_inline struct target *original_destination(struct bpf_sock_addr *ctx,
							   const struct target *endpoint)
{
	struct socket_peer peer = {.socket = bpf_get_socket_cookie(ctx), .target = *endpoint};

	return bpf_map_lookup_elem(&callees, &peer);
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

/* Returns a hook's result: 1 lets the call proceed, 0 refuses it. */
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
	struct target destination = {.protocol = ctx->protocol};
	enum fate fate;

	if (ctx->protocol != IPPROTO_TCP || is_bound4(ctx))
		return 1;
	read4(ctx, &destination);
	fate = balance(ctx, &destination);
	if (fate == TRANSLATED)
		write4(ctx, &destination);
	return proceed(fate);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct target destination = {.protocol = ctx->protocol};
	enum fate fate;

	if (ctx->protocol != IPPROTO_TCP || is_bound6(ctx))
		return 1;
	read6(ctx, &destination);
	fate = balance(ctx, &destination);
	if (fate == TRANSLATED)
		write6(ctx, &destination);
	return proceed(fate);
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	struct target destination = {.protocol = IPPROTO_UDP};

	if (ctx->protocol != IPPROTO_UDP || is_bound4(ctx) || ctx->msg_src_ip4)
		return 1;
	read4(ctx, &destination);
	if (balance(ctx, &destination) == TRANSLATED)
		write4(ctx, &destination);
	return 1;
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	struct target destination = {.protocol = IPPROTO_UDP};

	if (ctx->protocol != IPPROTO_UDP || is_bound6(ctx) || has_source6(ctx))
		return 1;
	read6(ctx, &destination);
	if (balance(ctx, &destination) == TRANSLATED)
		write6(ctx, &destination);
	return 1;
}

static __always_inline int restore4(struct bpf_sock_addr *ctx)
{
	struct target endpoint = {}, *destination;

	read4(ctx, &endpoint);
	destination = original_destination(ctx, &endpoint);
	if (destination)
		write4(ctx, destination);
	return 1;
}

static __always_inline int restore6(struct bpf_sock_addr *ctx)
{
	struct target endpoint = {}, *destination;

	read6(ctx, &endpoint);
	destination = original_destination(ctx, &endpoint);
	if (destination)
		write6(ctx, destination);
	return 1;
}

/* A process closed its socket, or ended. */
SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx)
{
	__u64 socket = bpf_get_socket_cookie(ctx);

	remove_connection(&socket);
	return 1;
}

SEC("cgroup_skb/egress")
int count_egress(struct __sk_buff *skb)
{
	count_packet(skb, false);
	return 1;
}

SEC("cgroup_skb/ingress")
int count_ingress(struct __sk_buff *skb)
{
	count_packet(skb, true);
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
