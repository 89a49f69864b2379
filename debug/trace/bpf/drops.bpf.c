/* Tells of packets that the kernel drops, and why: those with one of the words that are looked for.
 *
 * The words are a probe's numbers and its port, or addresses; debug/trace/watch/drops.py writes them. A program on a
 * tracepoint changes nothing. It reads fields of the kernel's structures wherever a kernel has them.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "../../kernel/bpf/structures.h"
#include "lost.h"

#define READ 128 /* bytes of a packet, from its IP header on */

/* Packed by debug/trace/watch/drops.py. */
struct wanted {
	__u32 first, last; /* a packet has a word in this range */
	__u32 port;	   /* or this port, unless 0 */
};

struct drop {
	__u64 time, function;
	__u32 reason, netns, link, padding;
	__u8 data[READ];
};

const volatile struct wanted wanted;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} drops SEC(".maps");

static __always_inline bool is_wanted(const __u8 *data)
{
	const __u16 *half = (const __u16 *)data;

	/* from the source of IPv4 on; every half: what a tunnel carries has no alignment of 4 */
	for (int at = 6; at < READ / 2 - 1; at++) {
		__u32 word = (__u32)bpf_ntohs(half[at]) << 16 | bpf_ntohs(half[at + 1]);

		if (word >= wanted.first && word <= wanted.last)
			return true;
	}
	return wanted.port && (bpf_ntohs(half[10]) == wanted.port ||
				bpf_ntohs(half[11]) == wanted.port);
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(dropped, struct sk_buff *skb, void *location, unsigned int reason)
{
	__u16 protocol = bpf_ntohs(BPF_CORE_READ(skb, protocol));
	__u8 data[READ] = {}; /* most are not told of, and room in the ring costs more */
	struct drop *drop;

	(void)ctx;
	if (protocol != ETH_P_IP && protocol != ETH_P_IPV6)
		return 0;
	if (bpf_probe_read_kernel(data, READ,
				  BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header)) ||
	    !is_wanted(data))
		return 0;
	drop = bpf_ringbuf_reserve(&drops, sizeof(*drop), 0);
	if (!drop) {
		count_lost();
		return 0;
	}
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
