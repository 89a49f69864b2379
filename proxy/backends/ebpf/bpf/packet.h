/* What a packet says of itself. */
#pragma once

#include "choice.h"

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#define FRAGMENTED 0x3fff /* an offset, or more to come */

struct packet {
	struct target client, whom;
	__u32 transport; /* where its header begins, from the network header on */
	bool begins;	 /* may be a flow's first */
};

static __always_inline bool load(struct __sk_buff *skb, __u32 at, void *to, __u32 length)
{
	return !bpf_skb_load_bytes_relative(skb, at, to, length, BPF_HDR_START_NET);
}

/* False for what is not whole, or not of the kind that a program can judge. */
static __always_inline bool read_ipv4(struct __sk_buff *skb, struct packet *packet)
{
	struct iphdr ip;

	if (!load(skb, 0, &ip, sizeof(ip)) || ip.version != 4 || ip.ihl < 5)
		return false;
	if (ip.frag_off & bpf_htons(FRAGMENTED))
		return false;
	packet->client.address.word[2] = packet->whom.address.word[2] = bpf_htonl(0xffff);
	packet->client.address.word[3] = ip.saddr;
	packet->whom.address.word[3] = ip.daddr;
	packet->whom.protocol = ip.protocol;
	packet->transport = ip.ihl * 4;
	return true;
}

/* A packet with extension headers is nftables' to judge. No IPv6 packet is IPv4's. */
static __always_inline bool read_ipv6(struct __sk_buff *skb, struct packet *packet)
{
	struct ipv6hdr ip;

	if (!load(skb, 0, &ip, sizeof(ip)) || ip.version != 6)
		return false;
	__builtin_memcpy(&packet->client.address, &ip.saddr, sizeof(struct address));
	__builtin_memcpy(&packet->whom.address, &ip.daddr, sizeof(struct address));
	packet->whom.protocol = ip.nexthdr;
	packet->transport = sizeof(ip);
	return !is_ipv4(&packet->client.address) && !is_ipv4(&packet->whom.address);
}

static __always_inline bool read_tcp(struct __sk_buff *skb, struct packet *packet)
{
	struct tcphdr tcp;

	if (!load(skb, packet->transport, &tcp, sizeof(tcp)))
		return false;
	packet->client.port = tcp.source;
	packet->whom.port = tcp.dest;
	packet->begins = tcp.syn && !tcp.ack && !tcp.rst && !tcp.fin;
	return true;
}

static __always_inline bool read_udp(struct __sk_buff *skb, struct packet *packet)
{
	struct udphdr udp;

	if (!load(skb, packet->transport, &udp, sizeof(udp)))
		return false;
	packet->client.port = udp.source;
	packet->whom.port = udp.dest;
	packet->begins = true;
	return true;
}

/* Reads what may be addressed to a frontend. */
static __always_inline bool read_packet(struct __sk_buff *skb, struct packet *packet)
{
	bool is_read = skb->protocol == bpf_htons(ETH_P_IP)   ? read_ipv4(skb, packet)
		       : skb->protocol == bpf_htons(ETH_P_IPV6) ? read_ipv6(skb, packet)
								 : false;

	if (!is_read)
		return false;
	if (packet->whom.protocol == IPPROTO_TCP)
		return read_tcp(skb, packet);
	return packet->whom.protocol == IPPROTO_UDP && read_udp(skb, packet);
}

/* The same on every node (MurmurHash3, 32 bits). */
static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	word *= 0xcc9e2d51;
	word = (word << 15 | word >> 17) * 0x1b873593;
	hash ^= word;
	return (hash << 13 | hash >> 19) * 5 + 0xe6546b64;
}

static __always_inline __u32 hash(const struct packet *packet)
{
	__u32 hash = packet->whom.protocol;

	for (int i = 0; i < 4; i++) {
		hash = mix(hash, packet->client.address.word[i]);
		hash = mix(hash, packet->whom.address.word[i]);
	}
	hash = mix(hash, (__u32)packet->client.port << 16 | packet->whom.port);
	hash = (hash ^ hash >> 16) * 0x85ebca6b;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35;
	return hash ^ hash >> 16;
}
