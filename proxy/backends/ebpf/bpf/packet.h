/* Parsing of packets: addresses, ports, and whether a packet can begin a flow. */
#pragma once

#include "endpoint.h"

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#define FRAGMENTED 0x3fff /* an offset, or the flag "more fragments" */

struct packet {
	struct target client, destination;
	__u32 transport; /* offset of its header from the network header */
	bool begins; /* can be a flow's first packet */
	bool ends; /* closes or resets a TCP connection */
};

static __always_inline bool load(struct __sk_buff *skb, __u32 at, void *to, __u32 length)
{
	return !bpf_skb_load_bytes_relative(skb, at, to, length, BPF_HDR_START_NET);
}

static __always_inline void fill_ipv4(const struct iphdr *ip, struct packet *packet)
{
	packet->client.address.word[2] = packet->destination.address.word[2] = bpf_htonl(0xffff);
	packet->client.address.word[3] = ip->saddr;
	packet->destination.address.word[3] = ip->daddr;
	packet->destination.protocol = ip->protocol;
}

static __always_inline void fill_tcp(const struct tcphdr *tcp, struct packet *packet)
{
	packet->client.port = tcp->source;
	packet->destination.port = tcp->dest;
	packet->begins = tcp->syn && !tcp->ack && !tcp->rst && !tcp->fin;
	packet->ends = tcp->rst || tcp->fin;
}

/* Reads the IPv4 header at `at`, counted from the network header. False for fragments and malformed
 * packets.
 */
static __always_inline bool read_ipv4(struct __sk_buff *skb, __u32 at, struct packet *packet)
{
	struct iphdr ip;

	if (!load(skb, at, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return false;
	if (ip.frag_off & bpf_htons(FRAGMENTED))
		return false;
	fill_ipv4(&ip, packet);
	packet->transport = at + ip.ihl * 4;
	return true;
}

/* False for extension headers, which are left to nftables, and for IPv4-mapped addresses. */
static __always_inline bool read_ipv6(struct __sk_buff *skb, __u32 at, struct packet *packet)
{
	struct ipv6hdr ip;

	if (!load(skb, at, &ip, sizeof(ip)) || ip.version != 6)
		return false;
	__builtin_memcpy(&packet->client.address, &ip.saddr, sizeof(struct address));
	__builtin_memcpy(&packet->destination.address, &ip.daddr, sizeof(struct address));
	packet->destination.protocol = ip.nexthdr;
	packet->transport = at + sizeof(ip);
	return !is_ipv4(&packet->client.address) && !is_ipv4(&packet->destination.address);
}

static __always_inline bool read_tcp(struct __sk_buff *skb, struct packet *packet)
{
	struct tcphdr tcp;

	if (!load(skb, packet->transport, &tcp, sizeof(tcp)))
		return false;
	fill_tcp(&tcp, packet);
	return true;
}

static __always_inline bool read_udp(struct __sk_buff *skb, struct packet *packet)
{
	struct udphdr udp;

	if (!load(skb, packet->transport, &udp, sizeof(udp)))
		return false;
	packet->client.port = udp.source;
	packet->destination.port = udp.dest;
	packet->begins = true;
	return true;
}

/* Parses a TCP or UDP packet; false for all other packets. */
static __always_inline bool read_packet(struct __sk_buff *skb, struct packet *packet)
{
	bool is_read = skb->protocol == bpf_htons(ETH_P_IP)	? read_ipv4(skb, 0, packet)
		       : skb->protocol == bpf_htons(ETH_P_IPV6) ? read_ipv6(skb, 0, packet)
								: false;

	if (!is_read)
		return false;
	if (packet->destination.protocol == IPPROTO_TCP)
		return read_tcp(skb, packet);
	return packet->destination.protocol == IPPROTO_UDP && read_udp(skb, packet);
}

/* One step of MurmurHash3 (32 bits). Every node computes the same hash. */
static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	word *= 0xcc9e2d51;
	word = (word << 15 | word >> 17) * 0x1b873593;
	hash ^= word;
	return (hash << 13 | hash >> 19) * 5 + 0xe6546b64;
}

static __always_inline __u32 hash(const struct packet *packet)
{
	__u32 hash = packet->destination.protocol;

	for (int i = 0; i < 4; i++) {
		hash = mix(hash, packet->client.address.word[i]);
		hash = mix(hash, packet->destination.address.word[i]);
	}
	hash = mix(hash, (__u32)packet->client.port << 16 | packet->destination.port);
	hash = (hash ^ hash >> 16) * 0x85ebca6b;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35;
	return hash ^ hash >> 16;
}
