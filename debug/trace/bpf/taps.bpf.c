/* Tells of packets on links: those of a probe, or those of some addresses.
 *
 * Two programs on tracepoints hear every packet of the machine where packet sockets would hear it, at a quarter
 * of their price: a packet socket has each packet that leaves by a link copied before its filter is asked.
 * debug/trace/watch/links.py says what is sought; as a constant it makes the kernel leave out the code for
 * all else. The programs change nothing.
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

#define KEPT 512 /* bytes of a packet, from its IP header on */
#define MOST 32	 /* addresses of each family, and ports */
#define NAME 16	 /* IFNAMSIZ */
#define TCP 6
#define UDP 17
#define ICMP 1
#define ICMPV6 58
#define TUNNEL 30 /* bytes of the headers of UDP, VXLAN and Ethernet */

/* A window of 16 bytes onto the kernel's memory. */
struct in6_addr___window {
	union {
		__u8 u6_addr8[16];
		__be16 u6_addr16[8];
		__be32 u6_addr32[4];
	} in6_u;
} KERNEL;

/* Packed by debug/trace/watch/links.py. */
struct sought {
	__u32 casts;	   /* the kernel has bpf_rdonly_cast */
	__u32 protocol;	   /* of the probe; 0: packets of addresses are sought */
	__u32 inner;	   /* bytes of an IP header of the probe's version */
	__u32 first, last; /* the probe's numbers */
	__u32 hosts4, hosts6, ports; /* how many there are */
	__u32 host4[MOST];
	__u32 host6[MOST][4];
	__u32 port[MOST]; /* of a probe of UDP: whose packets may be its own, or answers */
};

struct tapped {
	__u64 time;
	__u32 netns;
	__u16 out, size;
	char link[NAME];
	__u8 data[KEPT];
};

const volatile struct sought sought;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 21);
} taps SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32); /* the number of a network namespace */
	__type(value, __u8);
} places SEC(".maps");

void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak; /* Linux 6.2 */

/* Reads a field at a place of the kernel's memory. A read beyond what is there gives 0. */
#define READ(at, type, field)                                                                      \
	({                                                                                         \
		type found = 0;                                                                    \
		if (sought.casts) {                                                                \
			const struct in6_addr___window *window = bpf_rdonly_cast(                  \
			    at, bpf_core_type_id_kernel(struct in6_addr___window));                \
			found = window->in6_u.field[0];                                            \
		} else {                                                                           \
			bpf_probe_read_kernel(&found, sizeof(found), at);                          \
		}                                                                                  \
		found;                                                                             \
	})
#define BYTE(at) READ(at, __u8, u6_addr8)
#define HALF(at) bpf_ntohs(READ(at, __u16, u6_addr16))
#define WORD(at) READ(at, __u32, u6_addr32)

static __always_inline bool is_marked(const __u8 *at)
{
	__u32 word = bpf_ntohl(WORD(at));

	return word >= sought.first && word <= sought.last;
}

static __always_inline bool is_port(__u16 port)
{
	for (__u32 i = 0; i < MOST && i < sought.ports; i++)
		if (port == sought.port[i])
			return true;
	return false;
}

/* True for a header of the probe's protocol that may be its own, or an answer's. */
static __always_inline bool is_of_probe(const __u8 *above)
{
	if (sought.protocol == TCP && is_marked(above + 4))
		return true;
	if (sought.protocol == UDP && (is_port(HALF(above)) || is_port(HALF(above + 2))))
		return true;
	return is_marked(above + 8);
}

static __always_inline bool is_tunnel(const __u8 *above)
{
	__u16 port = HALF(above + 2);

	return port == 4789 || port == 8472;
}

static __always_inline const __u8 *above_ip(const __u8 *ip, bool is_4)
{
	return ip + (is_4 ? (BYTE(ip) & 15) * 4 : 40);
}

static __always_inline bool carries_probe(const __u8 *ip, bool is_4, __u8 protocol)
{
	const __u8 *above;

	if (protocol != sought.protocol && protocol != UDP && protocol != ICMP &&
	    protocol != ICMPV6)
		return false;
	above = above_ip(ip, is_4);
	if (protocol == sought.protocol && is_of_probe(above))
		return true;
	if (protocol == ICMP || protocol == ICMPV6) /* an error quotes it */
		return is_marked(above + 8 + sought.inner + (sought.protocol == TCP ? 4 : 8));
	return protocol == UDP && is_tunnel(above) && is_of_probe(above + TUNNEL + sought.inner);
}

static __always_inline bool is_host4(__u32 address)
{
	for (__u32 i = 0; i < MOST && i < sought.hosts4; i++)
		if (address == sought.host4[i])
			return true;
	return false;
}

static __always_inline bool has_host4(const __u8 *ip)
{
	return sought.hosts4 && (is_host4(WORD(ip + 12)) || is_host4(WORD(ip + 16)));
}

static __always_inline bool is_host6(const __u8 *at)
{
	__u32 last = WORD(at + 12);

	for (__u32 i = 0; i < MOST && i < sought.hosts6; i++)
		if (last == sought.host6[i][3] && WORD(at) == sought.host6[i][0] &&
		    WORD(at + 4) == sought.host6[i][1] && WORD(at + 8) == sought.host6[i][2])
			return true;
	return false;
}

static __always_inline bool has_host6(const __u8 *ip)
{
	return sought.hosts6 && (is_host6(ip + 8) || is_host6(ip + 24));
}

/* True if a tunnel carries a packet of one of the addresses. */
static __always_inline bool carries_host(const __u8 *above)
{
	const __u8 *ip = above + TUNNEL;

	return is_tunnel(above) && (BYTE(ip) >> 4 == 4 ? has_host4(ip) : has_host6(ip));
}

static __always_inline bool is_sought(const __u8 *ip, __u16 protocol)
{
	bool is_4 = protocol == ETH_P_IP;
	__u8 kind = BYTE(ip + (is_4 ? 9 : 6));

	if (sought.protocol)
		return carries_probe(ip, is_4, kind);
	return (is_4 ? has_host4(ip) : has_host6(ip)) ||
	       (kind == UDP && carries_host(above_ip(ip, is_4)));
}

/* `ip` is where the packet's IP header begins. */
static __always_inline void tell(const struct sk_buff *skb, const __u8 *ip,
				 const struct net_device *device, bool out)
{
	__u32 netns = device->nd_net.net->ns.inum;
	__s64 size = (__s64)(skb->head - ip) + skb->tail; /* without pages of their own */
	struct tapped *tapped;

	if (size <= 0 || !bpf_map_lookup_elem(&places, &netns))
		return;
	tapped = bpf_ringbuf_reserve(&taps, sizeof(*tapped), 0);
	if (!tapped)
		return count_lost();
	if (size > KEPT)
		size = KEPT;
	tapped->time = bpf_ktime_get_ns();
	tapped->netns = netns;
	tapped->out = out;
	tapped->size = size;
	bpf_probe_read_kernel(tapped->link, NAME, device->name);
	if (bpf_probe_read_kernel(tapped->data, size, ip))
		tapped->size = 0;
	bpf_ringbuf_submit(tapped, 0);
}

static __always_inline int look(const struct sk_buff *skb, const __u8 *ip,
				const struct net_device *device, bool out)
{
	__u16 protocol = bpf_ntohs(skb->protocol);

	if ((protocol == ETH_P_IP || protocol == ETH_P_IPV6) && is_sought(ip, protocol))
		tell(skb, ip, device, out);
	return 0;
}

SEC("tp_btf/netif_receive_skb")
int BPF_PROG(received, struct sk_buff *skb)
{
	(void)ctx;
	return look(skb, skb->data, skb->dev, false); /* its network header is not set yet */
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(sent, struct sk_buff *skb, struct net_device *device)
{
	(void)ctx;
	return look(skb, skb->head + skb->network_header, device, true);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
