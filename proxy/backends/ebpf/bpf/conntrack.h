/* The kernel's connection tracking as programs may use it (net/netfilter/nf_conntrack_bpf.c and
 * nf_nat_bpf.c, Linux 6.1). A flow that a program enters there is translated, expires, collides and
 * is listed like every other.
 */
#pragma once

#include "packet.h"

#include <bpf/bpf_core_read.h>

struct ip_ct_tcp {
	__u8 state;
} KERNEL;

union nf_conntrack_proto {
	struct ip_ct_tcp tcp;
} KERNEL;

struct nf_conn {
	union nf_conntrack_proto proto;
} KERNEL;

struct nf_conn___init {
	struct nf_conn ct;
};

#define TIME_WAIT 7 /* enum tcp_conntrack: this, and CLOSE */

union nf_inet_addr {
	__u32 all[4];
};

enum nf_nat_manip_type { NF_NAT_MANIP_SRC, NF_NAT_MANIP_DST };

/* As long as every kernel takes it; newer ones also take a longer one. */
struct bpf_ct_opts {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir;
	__u8 reserved[2];
};

/* Absent where the kernel has no conntrack, or its module is not loaded. */
struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
				  __u32 tuple_size, struct bpf_ct_opts *opts,
				  __u32 opts_size) __ksym __weak;
struct nf_conn___init *bpf_skb_ct_alloc(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
					__u32 tuple_size, struct bpf_ct_opts *opts,
					__u32 opts_size) __ksym __weak;
int bpf_ct_set_nat_info(struct nf_conn___init *flow, union nf_inet_addr *address, int port,
			enum nf_nat_manip_type manip) __ksym __weak;
struct nf_conn *bpf_ct_insert_entry(struct nf_conn___init *flow) __ksym __weak;
int bpf_ct_change_timeout(struct nf_conn *flow, __u32 ms) __ksym __weak;
void bpf_ct_release(struct nf_conn *flow) __ksym __weak;

static __always_inline void fill_tuple(const struct packet *packet, struct bpf_sock_tuple *tuple)
{
	const struct target *client = &packet->client, *whom = &packet->whom;

	if (is_ipv4(&whom->address)) {
		tuple->ipv4.saddr = client->address.word[3];
		tuple->ipv4.daddr = whom->address.word[3];
		tuple->ipv4.sport = client->port;
		tuple->ipv4.dport = whom->port;
		return;
	}
	__builtin_memcpy(tuple->ipv6.saddr, &client->address, sizeof(struct address));
	__builtin_memcpy(tuple->ipv6.daddr, &whom->address, sizeof(struct address));
	tuple->ipv6.sport = client->port;
	tuple->ipv6.dport = whom->port;
}

/* The flow of a packet, which has to be released. */
static __always_inline struct nf_conn *find_flow(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_ct_opts opts = {.netns_id = -1, .l4proto = packet->whom.protocol};
	struct bpf_sock_tuple tuple = {};

	fill_tuple(packet, &tuple);
	if (is_ipv4(&packet->whom.address))
		return bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv4), &opts, sizeof(opts));
	return bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv6), &opts, sizeof(opts));
}

/* Whether the packet opens anew a connection that has ended. The kernel would forget the old one. */
static __always_inline bool is_reopened(const struct packet *packet, struct nf_conn *flow)
{
	return packet->whom.protocol == IPPROTO_TCP && packet->begins &&
	       BPF_CORE_READ(flow, proto.tcp.state) >= TIME_WAIT;
}

/* Whether a flow is under way. One that has ended is forgotten if the packet opens it anew. */
static __always_inline bool is_tracked(struct __sk_buff *skb, const struct packet *packet)
{
	struct nf_conn *flow = find_flow(skb, packet);
	bool is_over;

	if (!flow)
		return false;
	is_over = is_reopened(packet, flow) && !bpf_ct_change_timeout(flow, 0);
	bpf_ct_release(flow);
	if (!is_over)
		return true;
	flow = find_flow(skb, packet); /* which removes what has expired */
	if (flow)
		bpf_ct_release(flow);
	return flow;
}

static __always_inline union nf_inet_addr as_nat(const struct address *address)
{
	if (is_ipv4(address))
		return (union nf_inet_addr){{address->word[3]}};
	return (union nf_inet_addr){
		{address->word[0], address->word[1], address->word[2], address->word[3]}};
}

/* Enters the flow; false if the kernel has no room, or another flow in its place. */
static __always_inline bool enter(struct __sk_buff *skb, const struct packet *packet,
				  const struct target *end, const struct address *source)
{
	struct bpf_ct_opts opts = {.netns_id = -1, .l4proto = packet->whom.protocol};
	union nf_inet_addr to = as_nat(&end->address), from = as_nat(source);
	struct bpf_sock_tuple tuple = {};
	struct nf_conn___init *fresh;
	struct nf_conn *flow;

	fill_tuple(packet, &tuple);
	if (is_ipv4(&packet->whom.address))
		fresh = bpf_skb_ct_alloc(skb, &tuple, sizeof(tuple.ipv4), &opts, sizeof(opts));
	else
		fresh = bpf_skb_ct_alloc(skb, &tuple, sizeof(tuple.ipv6), &opts, sizeof(opts));
	if (!fresh)
		return false;
	/* Both always succeed for a flow that is not entered yet. The source comes last: its port
	 * changes if another flow to the endpoint has it.
	 */
	bpf_ct_set_nat_info(fresh, &to, bpf_ntohs(end->port), NF_NAT_MANIP_DST);
	bpf_ct_set_nat_info(fresh, &from, 0, NF_NAT_MANIP_SRC);
	flow = bpf_ct_insert_entry(fresh);
	if (!flow)
		return false;
	bpf_ct_release(flow);
	return true;
}
