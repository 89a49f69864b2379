/* Frames between two Pods of a bridge. The bridge forwards them without the node's rules, so that an
 * answer to a Service's caller would come from the endpoint itself:
 *
 *   client ── to the Service ──► node ── translated ──► endpoint
 *      ▲                                                   │
 *      └── from the Service ── node ◄── to the bridge ─────┘
 *
 * The program addresses such frames to the node: to the port by which they come in, whose MAC address
 * is the node's own on the bridge, whatever address the bridge has. The node then routes them, and
 * connection tracking translates them back. All other frames between neighbors stay as they are. So
 * the bridge does not have to call netfilter for every frame (bridge-nf-call-iptables).
 */
#pragma once

#include "actions.h"
#include "policy.h"

#define TRANSLATED 0x30 /* IPS_SRC_NAT | IPS_DST_NAT */
#define IPPROTO_ICMP 1
#define IPPROTO_ICMPV6 58
#define IPPROTO_SCTP 132
#define ICMP_HEADER 8

/* Flags of a link by which packets come in. PODS4, PODS6: its packets are Pods' packets. */
enum link_flag { PODS4 = 1, PODS6 = 2, BRIDGED = 4, ETHERNET = 8 };

struct link {
	__u8 flags; /* enum link_flag */
	__u8 zero;
	__u8 bridge[ETH_ALEN]; /* the MAC address of its bridge */
	__u8 own[ETH_ALEN];    /* its own */
};

TABLE(links, 4096, __u32, struct link); /* by interface index */

/* True if a frame's destination is another machine on the bridge, not the node and not a group. */
static __always_inline bool is_for_neighbor(struct __sk_buff *skb, const struct link *link)
{
	const __u8 *to = (void *)(long)skb->data;

	if (!(link->flags & BRIDGED) || !(link->flags & ETHERNET) || skb->vlan_present ||
	    to + ETH_ALEN > (__u8 *)(long)skb->data_end || to[0] & 1)
		return false;
	for (int i = 0; i < ETH_ALEN; i++)
		if (to[i] != link->bridge[i])
			return true;
	return false;
}

static __always_inline bool is_translated(struct __sk_buff *skb, const struct packet *packet)
{
	struct nf_conn *flow = find_flow(skb, packet);
	bool translated;

	if (!flow)
		return false;
	translated = BPF_CORE_READ(flow, status) & TRANSLATED;
	bpf_ct_release(flow);
	return translated;
}

static __always_inline struct packet answer_to(const struct packet *packet)
{
	struct packet answer = {.client = packet->destination, .destination = packet->client};

	answer.client.protocol = 0;
	answer.destination.protocol = packet->destination.protocol;
	return answer;
}

/* Reads the packet that an ICMP error quotes, and fills `packet` as an answer to that; false for all
 * other packets.
 */
static __always_inline bool read_quoted(struct __sk_buff *skb, bool is_4, __u32 at,
					struct packet *packet)
{
	struct packet quoted = {};
	__be16 ports[2];
	__u8 type;

	if (!load(skb, at, &type, sizeof(type)))
		return false;
	at += ICMP_HEADER;
	if (is_4) {
		if (type == 0 || type == 8 || !read_ipv4(skb, at, &quoted))
			return false;
	} else if (type >= 128 || !read_ipv6(skb, at, &quoted)) {
		return false;
	}
	if (!load(skb, quoted.transport, ports, sizeof(ports)))
		return false;
	quoted.client.port = ports[0];
	quoted.destination.port = ports[1];
	*packet = answer_to(&quoted);
	return packet->destination.protocol == IPPROTO_TCP ||
	       packet->destination.protocol == IPPROTO_UDP;
}

/* True if no program can look up the packet's flow: SCTP, fragments, IPv6 extension headers. */
static __always_inline bool is_opaque(struct __sk_buff *skb, bool is_4, struct packet *packet)
{
	if (is_4 && !read_ipv4(skb, 0, packet)) {
		struct iphdr ip;

		return load(skb, 0, &ip, sizeof(ip)) && ip.frag_off & bpf_htons(FRAGMENTED);
	}
	if (!is_4 && !read_ipv6(skb, 0, packet))
		return false;
	switch (packet->destination.protocol) {
	case IPPROTO_SCTP:
		return true;
	case 0: /* hop by hop */
	case 43: /* routing */
	case 44: /* fragment */
	case 60: /* destination */
		return !is_4;
	}
	return false;
}

/* True if the node has to route a packet that is neither TCP nor UDP, or no whole packet. */
VERIFIED_ONCE int concerns_node(struct __sk_buff *skb)
{
	bool is_4 = skb->protocol == bpf_htons(ETH_P_IP);
	struct packet packet = {}, answer = {};

	if (!is_4 && skb->protocol != bpf_htons(ETH_P_IPV6))
		return false;
	if (is_opaque(skb, is_4, &packet))
		return true;
	if (packet.destination.protocol != (is_4 ? IPPROTO_ICMP : IPPROTO_ICMPV6))
		return false;
	return read_quoted(skb, is_4, packet.transport, &answer) && is_translated(skb, &answer);
}

/* True if the node has to route a TCP or UDP packet between neighbors: its flow is translated, or its
 * answers would look like those of a translated flow.
 */
static __always_inline bool is_of_translated_flow(struct __sk_buff *skb, const struct packet *packet)
{
	struct packet answer;

	if (is_translated(skb, packet))
		return true;
	if (!packet->begins)
		return false;
	answer = answer_to(packet);
	return is_translated(skb, &answer);
}

/* Parses a TCP packet over IPv4 without options in place. It costs less than copying the headers, and
 * each frame between neighbors pays for it. False for all others.
 */
static __always_inline bool read_plain(struct __sk_buff *skb, struct packet *packet)
{
	const struct iphdr *ip = (void *)(long)skb->data + ETH_HLEN;
	const struct tcphdr *tcp = (const void *)(ip + 1);

	if ((void *)(tcp + 1) > (void *)(long)skb->data_end ||
	    skb->protocol != bpf_htons(ETH_P_IP) || ip->version != 4 || ip->ihl != 5 ||
	    ip->frag_off & bpf_htons(FRAGMENTED) || ip->protocol != IPPROTO_TCP)
		return false;
	fill_ipv4(ip, packet);
	fill_tcp(tcp, packet);
	return true;
}

/* True if an ICMP packet keeps the link, or is an error about a flow that passed. */
static __always_inline bool is_icmp_of_bridge(struct __sk_buff *skb)
{
	bool is_4 = skb->protocol == bpf_htons(ETH_P_IP);
	struct packet packet = {}, answer = {};
	struct flow flow = {};
	__u8 type;

	if (!(is_4 ? read_ipv4(skb, 0, &packet) : read_ipv6(skb, 0, &packet)) ||
	    packet.destination.protocol != (is_4 ? IPPROTO_ICMP : IPPROTO_ICMPV6) ||
	    !load(skb, packet.transport, &type, sizeof(type)))
		return false;
	if (!is_4 && keeps_link(type))
		return true;
	if (!read_quoted(skb, is_4, packet.transport, &answer))
		return false;
	fill_flow(&answer, &flow);
	return is_known(&flow, &answer);
}

/* True if policies leave it to the node's rules what becomes of a frame that is neither TCP nor UDP. What
 * the node would not route stays on the bridge, whose own rules drop it.
 */
VERIFIED_ONCE int is_for_rules(struct __sk_buff *skb)
{
	bool is_4 = skb->protocol == bpf_htons(ETH_P_IP);
	struct packet packet = {};

	if (!is_4 && skb->protocol != bpf_htons(ETH_P_IPV6))
		return false;
	if (!is_4 && read_ipv6(skb, 0, &packet) &&
	    (is_link_local(&packet.client.address) || is_link_local(&packet.destination.address)))
		return false;
	return !is_icmp_of_bridge(skb);
}

/* True if the node has to route a frame. `packet` is its TCP or UDP packet. */
static __always_inline bool needs_node(struct __sk_buff *skb, const struct packet *packet)
{
	__u32 guarding = guard();

	if (is_of_translated_flow(skb, packet))
		return true;
	return guarding != UNGUARDED && !is_link_local(&packet->client.address) &&
	       !is_link_local(&packet->destination.address) && !may_pass(packet, guarding);
}

/* Handles a frame between neighbors. */
VERIFIED_ONCE int route_if_needed(struct __sk_buff *skb, const struct link *link)
{
	struct packet packet = {};

	if (!link || !(read_plain(skb, &packet) || read_packet(skb, &packet)
		  ? needs_node(skb, &packet)
		  : concerns_node(skb) || (guard() == ENFORCING && is_for_rules(skb))))
		return 0;
	if (!bpf_skb_store_bytes(skb, 0, link->own, ETH_ALEN, 0) &&
	    !bpf_skb_change_type(skb, PACKET_HOST))
		count(ROUTED);
	return 0;
}
