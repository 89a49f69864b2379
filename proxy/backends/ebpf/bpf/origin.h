/* Which address a process of a pod will call from.
 *
 * A hook runs before the kernel has chosen a source. A pod has one address of each family, so that
 * it can be read from the network namespace; where there are several, nobody can tell, and the
 * connection is left to nftables, which sees packets.
 */
#pragma once

#include "maps.h"

#include <bpf/bpf_core_read.h>

#define LINKS 8
#define ADDRESSES 8
#define FRESH 1000000000ULL /* ns for which an answer is believed */
#define IFF_LOOPBACK 0x8

struct list_head {
	struct list_head *next;
} KERNEL;

struct net {
	__u64 net_cookie;
	struct list_head dev_base_head;
} KERNEL;

struct nsproxy {
	struct net *net_ns;
} KERNEL;

struct task_struct {
	struct nsproxy *nsproxy;
} KERNEL;

struct in_ifaddr {
	struct in_ifaddr *ifa_next;
	__be32 ifa_local;
} KERNEL;

struct in_device {
	struct in_ifaddr *ifa_list;
} KERNEL;

struct ipv6_address {
	__u32 word[4];
};

struct inet6_ifaddr {
	struct ipv6_address addr;
	struct list_head if_list;
} KERNEL;

struct inet6_dev {
	struct list_head addr_list;
} KERNEL;

struct net_device {
	unsigned int flags;
	struct list_head dev_list;
	struct in_device *ip_ptr;
	struct inet6_dev *ip6_ptr;
} KERNEL;

/* The addresses of a network namespace; `found` may be more than one, or too many to count. */
struct origin {
	__u64 read_at;
	struct address address[2]; /* IPv4, IPv6 */
	__u32 found[2];
};

MEMORY(origins, 4096, __u64, struct origin);

static __always_inline void addresses_v4(struct net_device *link, struct origin *origin)
{
	struct in_ifaddr *one = BPF_CORE_READ(link, ip_ptr, ifa_list);

	for (int i = 0; i < ADDRESSES && one; i++) {
		origin->address[0].word[3] = BPF_CORE_READ(one, ifa_local);
		origin->found[0]++;
		one = BPF_CORE_READ(one, ifa_next);
	}
}

static __always_inline void addresses_v6(struct net_device *link, struct origin *origin)
{
	struct inet6_dev *device = BPF_CORE_READ(link, ip6_ptr);
	struct list_head *head, *at;

	if (!device)
		return;
	head = (void *)device + bpf_core_field_offset(struct inet6_dev, addr_list);
	at = BPF_CORE_READ(head, next);
	for (int i = 0; i < ADDRESSES && at && at != head; i++) {
		struct inet6_ifaddr *one = (void *)at - bpf_core_field_offset(struct inet6_ifaddr, if_list);
		struct address address;

		bpf_core_read(&address, sizeof(address), &one->addr);
		if ((address.word[0] & bpf_htonl(0xffc00000)) != bpf_htonl(0xfe800000)) { /* link-local */
			origin->address[1] = address;
			origin->found[1]++;
		}
		at = BPF_CORE_READ(at, next);
	}
}

/* Not inlined, so that the kernel verifies it once; hence it takes the address as a number. */
__attribute__((noinline)) int read_origin(__u64 space, struct origin *origin)
{
	struct net *net = (void *)space;
	struct list_head *head = (void *)net + bpf_core_field_offset(struct net, dev_base_head);
	struct list_head *at = BPF_CORE_READ(head, next);
	int i;

	if (!origin)
		return 0;
	origin->address[0].word[2] = bpf_htonl(0xffff);
	for (i = 0; i < LINKS && at && at != head; i++) {
		struct net_device *link = (void *)at - bpf_core_field_offset(struct net_device, dev_list);

		if (!(BPF_CORE_READ(link, flags) & IFF_LOOPBACK)) {
			addresses_v4(link, origin);
			addresses_v6(link, origin);
		}
		at = BPF_CORE_READ(at, next);
	}
	if (i == LINKS)
		origin->found[0] = origin->found[1] = LINKS;
	return i;
}

/* The caller's one address of a family. A socket may have come from another namespace than its
 * process: then nothing is known.
 */
static __always_inline bool find_origin(__u64 cookie, int family, struct address *address)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct origin fresh = {}, *known = bpf_map_lookup_elem(&origins, &cookie);
	__u64 now = bpf_ktime_get_ns();

	if (!known || now - known->read_at > FRESH) {
		struct net *net = BPF_CORE_READ(task, nsproxy, net_ns);

		if (!net || BPF_CORE_READ(net, net_cookie) != cookie)
			return false;
		read_origin((__u64)net, &fresh);
		fresh.read_at = now;
		bpf_map_update_elem(&origins, &cookie, &fresh, BPF_ANY);
		known = &fresh;
	}
	*address = known->address[family];
	return known->found[family] == 1;
}
