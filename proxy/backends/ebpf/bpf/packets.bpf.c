/* Balancing by packets, which come in by a link of the node: from other machines and from Pods.
 *
 * For the first packet of a flow to a Service, the program chooses an endpoint. It adds the flow and
 * its translation to the kernel's connection tracking. Netfilter does the rest, as for every tracked
 * flow: translation, expiry, ICMP errors. The program changes no packet, except the hop limit of
 * packets that it sends to another node (direct server return), and the MAC address to which a
 * translated flow's frame between two Pods of a bridge goes.
 *
 * Some packets pass unchanged and meet nftables' rules, which have the same meaning: fragments,
 * packets with extension headers, packets to be refused, and flows that collide with another.
 */
#include "conntrack.h"
#include "actions.h"
#include "direct_return.h"
#include "neighbors.h"
#include "packet.h"
#include "route.h"

static __always_inline bool is_in_range(const struct address *address, const struct settings *set)
{
	int family = is_ipv4(address) ? 0 : 1;

	return set->pods_by_range & 1 << family && is_within(address, &set->pods[family & 1]);
}

static __always_inline bool is_pod(const struct packet *packet, const struct settings *set,
				   __u8 flags)
{
	__u8 bit = is_ipv4(&packet->destination.address) ? PODS4 : PODS6;

	if (set->pods_by_interface & bit)
		return flags & bit;
	return is_in_range(&packet->client.address, set);
}

/* True if other programs' rules may masquerade packets from this client to the endpoint, as a Pod
 * network's rules do for Pods that call outside addresses. They cannot once the flow is tracked.
 */
static __always_inline bool may_others_masquerade(const struct packet *packet,
						  const struct target *endpoint,
						  const struct settings *set)
{
	__u8 bit = is_ipv4(&packet->destination.address) ? PODS4 : PODS6;

	if (!(set->pods_by_range & bit))
		return true;
	return is_in_range(&packet->client.address, set) && !is_in_range(&endpoint->address, set);
}

static __always_inline bool masquerades(const struct forward *forward, bool from_pod)
{
	return forward->masquerade == ALWAYS || (forward->masquerade == NOT_PODS && !from_pod);
}

/* Handles a flow's first packet. It is not from the node: the node's packets come in by no link. */
VERIFIED_ONCE int balance(struct __sk_buff *skb, const struct packet *packet,
			  const struct forward *forward, const struct settings *set, bool from_pod)
{
	struct address source, ours;
	struct target *found, endpoint;
	struct pool pool;
	__u32 number;

	if (!packet || !forward || !set)
		return TC_ACT_UNSPEC;
	number = set->by_hash ? hash(packet) : bpf_get_prandom_u32();
	pool = (struct pool){forward->pool, forward->count};
	source = ours = packet->client.address;
	if (forward->has_inside && from_pod)
		pool = (struct pool){forward->inside, forward->inside_count};
	if (!pool.count || !admits(forward, &source))
		return TC_ACT_UNSPEC;
	found = forward->affinity ? sticky_endpoint(forward, &pool, set, &source, number)
				  : endpoint_at(&pool, set, number);
	if (!found)
		return TC_ACT_UNSPEC; /* the pool was replaced meanwhile */
	endpoint = *found;
	if (masquerades(forward, from_pod) || is_same(&endpoint.address, &source)) {
		if (!find_source(skb, packet, &endpoint, &ours))
			return TC_ACT_UNSPEC;
	} else if (may_others_masquerade(packet, &endpoint, set)) {
		return TC_ACT_UNSPEC;
	}
	begin_flow(skb, packet, forward, &endpoint, &ours);
	return TC_ACT_UNSPEC;
}

static __always_inline bool is_direct(const struct packet *packet, const struct forward *forward,
				      __u8 flags, bool from_pod)
{
	return forward->direct && forward->count && flags & ETHERNET && !from_pod &&
	       admits(forward, &packet->client.address);
}

static __always_inline bool is_for_us(const struct __sk_buff *skb, __u8 flags)
{
	if (skb->vlan_present)
		return false; /* it comes in again by the VLAN's own link */
	return skb->pkt_type == PACKET_HOST ||
	       (skb->pkt_type == PACKET_OTHERHOST && flags & BRIDGED);
}

SEC("tc")
int balance_ingress(struct __sk_buff *skb)
{
	struct packet packet = {};
	struct forward *forward;
	struct settings *set;
	__u32 zero = 0, number = skb->ifindex;
	struct link *link;
	bool from_pod;

	link = bpf_map_lookup_elem(&links, &number);
	if (!link)
		return TC_ACT_UNSPEC;
	if (is_for_neighbor(skb, link)) {
		route_if_needed(skb, link);
		return TC_ACT_UNSPEC;
	}
	set = bpf_map_lookup_elem(&settings, &zero);
	if (!set || !read_packet(skb, &packet) || !(packet.begins || set->has_direct) || !is_for_us(skb, link->flags))
		return TC_ACT_UNSPEC;
	forward = find_forward(&packet.destination, set, false);
	if (!forward || forward->by_nftables || !(packet.begins || forward->direct))
		return TC_ACT_UNSPEC;
	if (is_tracked(skb, &packet))
		return TC_ACT_UNSPEC;
	from_pod = is_pod(&packet, set, link->flags);
	if (is_direct(&packet, forward, link->flags, from_pod))
		return return_directly(skb, &packet, forward, set);
	return packet.begins ? balance(skb, &packet, forward, set, from_pod) : TC_ACT_UNSPEC;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
