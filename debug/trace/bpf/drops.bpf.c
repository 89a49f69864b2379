/* Tells of packets that the kernel drops, and why: those with one of the words that are looked for.
 *
 * The words are a probe's numbers and its port, or addresses; debug/trace/watch/drops.py writes them. A program on a
 * tracepoint changes nothing. It reads fields of the kernel's structures wherever a kernel has them.
 */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define KERNEL __attribute__((preserve_access_index))
#define READ 128 /* bytes of a packet, from its IP header on */
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd

struct ns_common {
	unsigned int inum;
} KERNEL;

struct net {
	struct ns_common ns;
} KERNEL;

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	possible_net_t nd_net;
	int ifindex;
} KERNEL;

struct sock_common {
	possible_net_t skc_net;
} KERNEL;

struct sock {
	struct sock_common __sk_common;
} KERNEL;

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned char *head;
	__u16 network_header;
	__be16 protocol;
} KERNEL;

struct wanted {
	__u32 first, last; /* a packet has a word in this range */
	__u32 port;	   /* or this port, unless 0 */
};

struct drop {
	__u64 time, function;
	__u32 reason, netns, link, padding;
	__u8 data[READ];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct wanted);
} wanted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} drops SEC(".maps");

static __always_inline bool is_wanted(const __u8 *data, const struct wanted *sought)
{
	const __u16 *half = (const __u16 *)data;

	/* from the source of IPv4 on; every half: what a tunnel carries has no alignment of 4 */
	for (int at = 6; at < READ / 2 - 1; at++) {
		__u32 word = (__u32)bpf_ntohs(half[at]) << 16 | bpf_ntohs(half[at + 1]);

		if (word >= sought->first && word <= sought->last)
			return true;
	}
	return sought->port && (bpf_ntohs(half[10]) == sought->port ||
				bpf_ntohs(half[11]) == sought->port);
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(dropped, struct sk_buff *skb, void *location, unsigned int reason)
{
	__u16 protocol = bpf_ntohs(BPF_CORE_READ(skb, protocol));
	__u32 none = 0;
	struct wanted *sought = bpf_map_lookup_elem(&wanted, &none);
	__u8 data[READ] = {}; /* most are not told of, and room in the ring costs more */
	struct drop *drop;

	(void)ctx;
	if (!sought || (protocol != ETH_P_IP && protocol != ETH_P_IPV6))
		return 0;
	if (bpf_probe_read_kernel(data, READ,
				  BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header)) ||
	    !is_wanted(data, sought))
		return 0;
	drop = bpf_ringbuf_reserve(&drops, sizeof(*drop), 0);
	if (!drop)
		return 0;
	__builtin_memcpy(drop->data, data, READ);
	drop->time = bpf_ktime_get_ns();
	drop->function = (__u64)location;
	drop->reason = reason;
	drop->link = BPF_CORE_READ(skb, dev, ifindex);
	drop->netns = BPF_CORE_READ(skb, dev, nd_net.net, ns.inum);
	if (!drop->netns)
		drop->netns = BPF_CORE_READ(skb, sk, __sk_common.skc_net.net, ns.inum);
	drop->padding = 0;
	bpf_ringbuf_submit(drop, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
