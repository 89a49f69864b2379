/* Balancing by packets: what comes in by a link of the node, from other machines and from pods.
 *
 * For the first packet of a flow to a Service the program chooses an endpoint, and enters the flow,
 * with its translation, in the kernel's own connection tracking. All else is netfilter's, as for
 * every tracked flow: translating, expiry, ICMP errors. No packet is changed here.
 *
 * Whatever the program is not sure of goes on as it is, and meets nftables' rules, which mean the
 * same: fragments, extension headers, refusals, flows that collide with another.
 */
#include "packet.h"
#include "conntrack.h"

#include <linux/pkt_cls.h>

#define AF_INET 2
#define AF_INET6 10

/* A link by which packets come in. */
enum link { PODS4 = 1, PODS6 = 2, BRIDGED = 4 };

TABLE(inlets, 4096, __u32, __u8); /* by number of the link */

/* How often what was done, for whoever wants to know. */
enum deed { ENTERED, COLLIDED, DEEDS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DEEDS);
	__type(key, __u32);
	__type(value, __u64);
} deeds SEC(".maps");

static __always_inline void count(__u32 deed)
{
	__u64 *number = bpf_map_lookup_elem(&deeds, &deed);

	if (number)
		(*number)++;
}

static __always_inline __u32 fill_tuple(const struct packet *packet, struct bpf_sock_tuple *tuple)
{
	const struct target *client = &packet->client, *whom = &packet->whom;

	if (is_ipv4(&whom->address)) {
		tuple->ipv4.saddr = client->address.word[3];
		tuple->ipv4.daddr = whom->address.word[3];
		tuple->ipv4.sport = client->port;
		tuple->ipv4.dport = whom->port;
		return sizeof(tuple->ipv4);
	}
	__builtin_memcpy(tuple->ipv6.saddr, &client->address, sizeof(struct address));
	__builtin_memcpy(tuple->ipv6.daddr, &whom->address, sizeof(struct address));
	tuple->ipv6.sport = client->port;
	tuple->ipv6.dport = whom->port;
	return sizeof(tuple->ipv6);
}

static __always_inline bool is_tracked(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_ct_opts opts = {.netns_id = -1, .l4proto = packet->whom.protocol};
	struct bpf_sock_tuple tuple = {};
	struct nf_conn *flow;

	if (is_ipv4(&packet->whom.address)) {
		fill_tuple(packet, &tuple);
		flow = bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv4), &opts, sizeof(opts));
	} else {
		fill_tuple(packet, &tuple);
		flow = bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv6), &opts, sizeof(opts));
	}
	if (!flow)
		return false;
	bpf_ct_release(flow);
	return true;
}

static __always_inline union nf_inet_addr as_nat(const struct address *address)
{
	if (is_ipv4(address))
		return (union nf_inet_addr){{address->word[3]}};
	return (union nf_inet_addr){
		{address->word[0], address->word[1], address->word[2], address->word[3]}};
}

/* Whether the way to `end` is known, and this node's address on it; none if `end` is here. */
static __always_inline bool find_way(struct __sk_buff *skb, const struct packet *packet,
				     const struct target *end, struct address *ours)
{
	struct bpf_fib_lookup way = {.ifindex = skb->ifindex, .l4_protocol = packet->whom.protocol};
	bool is_4 = is_ipv4(&end->address);
	long found;

	way.family = is_4 ? AF_INET : AF_INET6;
	if (is_4) {
		way.ipv4_src = packet->client.address.word[3];
		way.ipv4_dst = end->address.word[3];
	} else {
		__builtin_memcpy(way.ipv6_src, &packet->client.address, sizeof(struct address));
		__builtin_memcpy(way.ipv6_dst, &end->address, sizeof(struct address));
	}
	found = bpf_fib_lookup(skb, &way, sizeof(way), BPF_FIB_LOOKUP_SKIP_NEIGH | BPF_FIB_LOOKUP_SRC);
	if (found == BPF_FIB_LKUP_RET_NOT_FWDED)
		return true;
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return false;
	if (is_4)
		*ours = (struct address){{0, 0, bpf_htonl(0xffff), way.ipv4_src}};
	else
		__builtin_memcpy(ours, way.ipv6_src, sizeof(*ours));
	return true;
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

	if (is_ipv4(&packet->whom.address)) {
		fill_tuple(packet, &tuple);
		fresh = bpf_skb_ct_alloc(skb, &tuple, sizeof(tuple.ipv4), &opts, sizeof(opts));
	} else {
		fill_tuple(packet, &tuple);
		fresh = bpf_skb_ct_alloc(skb, &tuple, sizeof(tuple.ipv6), &opts, sizeof(opts));
	}
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

static __always_inline bool is_pod(const struct packet *packet, const struct settings *set,
				   __u8 inlet)
{
	int family = is_ipv4(&packet->whom.address) ? 0 : 1;
	__u8 bit = 1 << family;

	if (set->by_interface & bit)
		return inlet & bit;
	return set->tells_pods & bit && is_within(&packet->client.address, &set->pods[family & 1]);
}

static __always_inline bool masquerades(const struct forward *forward, bool from_pod)
{
	return forward->masquerade == ALWAYS || (forward->masquerade == NOT_PODS && !from_pod);
}

/* What becomes of a flow's first packet. The node's own do not come in by a link. */
static __always_inline void balance(struct __sk_buff *skb, const struct packet *packet,
				    const struct forward *forward, const struct settings *set,
				    bool from_pod)
{
	__u32 number = set->by_hash ? hash(packet) : bpf_get_prandom_u32();
	struct pool pool = {forward->pool, forward->count};
	struct address source = packet->client.address, ours = source;
	struct target *found, end;

	if (forward->has_inside && from_pod)
		pool = (struct pool){forward->inside, forward->inside_count};
	if (!pool.count || !admits(forward, &source))
		return;
	found = forward->affinity ? stick(forward, &pool, set, &source, number)
				  : any_of(&pool, set, number);
	if (!found)
		return; /* the pool has just been replaced */
	end = *found;
	if (masquerades(forward, from_pod) || is_same(&end.address, &source))
		if (!find_way(skb, packet, &end, &ours))
			return;
	count(enter(skb, packet, &end, &ours) ? ENTERED : COLLIDED);
}

static __always_inline bool is_for_us(const struct __sk_buff *skb, __u8 inlet)
{
	if (skb->vlan_present)
		return false; /* comes in once more, by the VLAN's own link */
	return skb->pkt_type == PACKET_HOST || (skb->pkt_type == PACKET_OTHERHOST && inlet & BRIDGED);
}

SEC("tc")
int come_in(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct forward *forward;
	struct settings *set;
	__u32 zero = 0, link = skb->ifindex;
	__u8 *inlet;

	if (!read_packet(skb, &packet) || !packet.begins)
		return TC_ACT_UNSPEC;
	set = bpf_map_lookup_elem(&settings, &zero);
	inlet = bpf_map_lookup_elem(&inlets, &link);
	if (!set || !inlet || !is_for_us(skb, *inlet))
		return TC_ACT_UNSPEC;
	forward = find_forward(&packet.whom, set, false);
	if (!forward || forward->by_nftables || is_tracked(skb, &packet))
		return TC_ACT_UNSPEC;
	balance(skb, &packet, forward, set, is_pod(&packet, set, *inlet));
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
