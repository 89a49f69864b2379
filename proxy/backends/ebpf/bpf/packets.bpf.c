/* Balancing by packets: what comes in by a link of the node, from other machines and from pods.
 *
 * For the first packet of a flow to a Service the program chooses an endpoint, and enters the flow,
 * with its translation, in the kernel's own connection tracking. All else is netfilter's, as for
 * every tracked flow: translating, expiry, ICMP errors. No packet is changed here, but for the hops
 * that are left to what is sent on to another node (direct server return).
 *
 * Whatever the program is not sure of goes on as it is, and meets nftables' rules, which mean the
 * same: fragments, extension headers, refusals, flows that collide with another.
 */
#include "conntrack.h"
#include "deeds.h"
#include "direct.h"
#include "packet.h"
#include "way.h"

/* A link by which packets come in. */
enum link { PODS4 = 1, PODS6 = 2, BRIDGED = 4, ETHERNET = 8 };

TABLE(inlets, 4096, __u32, __u8); /* by number of the link */

static __always_inline bool is_in_range(const struct address *address, const struct settings *set)
{
	int family = is_ipv4(address) ? 0 : 1;

	return set->tells_pods & 1 << family && is_within(address, &set->pods[family & 1]);
}

static __always_inline bool is_pod(const struct packet *packet, const struct settings *set,
				   __u8 inlet)
{
	__u8 bit = is_ipv4(&packet->whom.address) ? PODS4 : PODS6;

	if (set->by_interface & bit)
		return inlet & bit;
	return is_in_range(&packet->client.address, set);
}

/* Whether other rules may want to masquerade the way from a client to an endpoint: as a network's
 * do, for pods that call somebody outside. They could not any more, once the flow is entered.
 */
static __always_inline bool is_others_to_masquerade(const struct packet *packet,
						    const struct target *end,
						    const struct settings *set)
{
	__u8 bit = is_ipv4(&packet->whom.address) ? PODS4 : PODS6;

	if (!(set->tells_pods & bit))
		return true;
	return is_in_range(&packet->client.address, set) && !is_in_range(&end->address, set);
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
	if (masquerades(forward, from_pod) || is_same(&end.address, &source)) {
		if (!find_source(skb, packet, &end, &ours))
			return;
	} else if (is_others_to_masquerade(packet, &end, set)) {
		return;
	}
	begin(skb, packet, forward, &end, &ours);
}

static __always_inline bool goes_directly(const struct packet *packet, const struct forward *forward,
					  __u8 inlet, bool from_pod)
{
	return forward->direct && forward->count && inlet & ETHERNET && !from_pod &&
	       admits(forward, &packet->client.address);
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
	bool from_pod;
	__u8 *inlet;

	set = bpf_map_lookup_elem(&settings, &zero);
	if (!set || !read_packet(skb, &packet) || !(packet.begins || set->has_direct))
		return TC_ACT_UNSPEC;
	inlet = bpf_map_lookup_elem(&inlets, &link);
	if (!inlet || !is_for_us(skb, *inlet))
		return TC_ACT_UNSPEC;
	forward = find_forward(&packet.whom, set, false);
	if (!forward || forward->by_nftables || !(packet.begins || forward->direct))
		return TC_ACT_UNSPEC;
	if (is_tracked(skb, &packet))
		return TC_ACT_UNSPEC;
	from_pod = is_pod(&packet, set, *inlet);
	if (goes_directly(&packet, forward, *inlet, from_pod))
		return return_directly(skb, &packet, forward, set);
	if (packet.begins)
		balance(skb, &packet, forward, set, from_pod);
	return TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
