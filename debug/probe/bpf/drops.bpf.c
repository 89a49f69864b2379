/* Counts the packets that the kernel drops, by function, reason and destination. */
#include "means.h"

#define FIRST 40 /* bytes of an IP header */

/* debug/probe/events.py unpacks it. Addresses are in network order, IPv4 in four bytes. */
struct drop {
	__u64 function;
	__u32 reason, netns;
	__u16 family, port;
	__u8 protocol, zero[3];
	__u8 destination[16];
};

struct dropped {
	__u64 packets, bytes;
};

COUNTS(drops, struct drop, struct dropped);

static inline __u32 read_netns(struct sk_buff *skb)
{
	struct net_device *dev = 0;
	struct sock *sk = 0;
	struct net *net = 0;
	__u32 netns = 0;

	COPY(dev, skb->dev);
	COPY(net, dev->nd_net.net);
	COPY(netns, net->ns.inum);
	if (netns)
		return netns;
	COPY(sk, skb->sk);
	COPY(net, sk->__sk_common.skc_net.net);
	COPY(netns, net->ns.inum);
	return netns;
}

static inline void read_port(struct drop *drop, unsigned char *ports)
{
	__u16 port = 0;

	if (drop->protocol != 6 && drop->protocol != 17 && drop->protocol != 132)
		return;
	bpf_probe_read_kernel(&port, sizeof(port), ports + 2);
	drop->port = ntohs(port);
}

static inline int read_packet(struct drop *drop, unsigned char *start)
{
	__u8 first[FIRST] = {};

	if (bpf_probe_read_kernel(first, FIRST, start))
		return 0;
	if (first[0] >> 4 == 4) {
		drop->family = AF_INET;
		drop->protocol = first[9];
		__builtin_memcpy(drop->destination, first + 16, 4);
		if (!(first[6] & 0x1f) && !first[7]) /* no later fragment */
			read_port(drop, start + (first[0] & 15) * 4);
		return 1;
	}
	if (first[0] >> 4 != 6)
		return 0;
	drop->family = AF_INET6;
	drop->protocol = first[6];
	__builtin_memcpy(drop->destination, first + 24, 16);
	read_port(drop, start + FIRST);
	return 1;
}

static inline void count(struct drop *drop, __u32 bytes)
{
	struct dropped none = {}, *found = LOOKUP(drops, drop);

	if (!found) {
		UPDATE(drops, drop, &none);
		found = LOOKUP(drops, drop);
	}
	if (!found) {
		lose();
		return;
	}
	__sync_fetch_and_add(&found->packets, 1);
	__sync_fetch_and_add(&found->bytes, bytes);
}

PROGRAM(kfree_skb)
int on_drop(struct bpf_raw_tracepoint_args *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx->args[0];
	struct drop drop = {};
	unsigned char *head = 0;
	__u16 header = 0, protocol = 0;
	__u32 bytes = 0;

	COPY(protocol, skb->protocol);
	protocol = ntohs(protocol);
	COPY(head, skb->head);
	COPY(header, skb->network_header);
	if ((protocol != 0x0800 && protocol != 0x86dd) || !read_packet(&drop, head + header))
		return 0;
	COPY(bytes, skb->len);
	drop.function = ctx->args[1];
	drop.reason = ctx->args[2];
	drop.netns = read_netns(skb);
	count(&drop, bytes);
	return 0;
}
