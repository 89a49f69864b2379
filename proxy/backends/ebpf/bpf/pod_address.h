/* The source address of a Pod's process.
 *
 * A hook runs before the kernel has chosen the source. A Pod has one address of each family, so the
 * program reads it from the network namespace. If there are several, the source is unknown, and
 * the connection is left to nftables, which sees packets.
 */
#pragma once

#include "maps.h"

#include <bpf/bpf_core_read.h>

#define LINKS 8
#define ADDRESSES 8
#define FRESH 1000000000ULL /* ns for which the addresses are kept */
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

/* The last address of each family in a network namespace, and how many there are. */
struct addresses {
	__u64 read_at;
	struct address address[2]; /* IPv4, IPv6 */
	__u32 found[2];
};

MEMORY(pod_addresses, 4096, __u64, struct addresses);

/* These functions are not inlined, so that the kernel verifies each once, not for each link and each
 * program: that would take a quarter of the proxy's start. Such a function takes no kernel pointer, so
 * structures of the kernel come as numbers.
 */
VERIFIED_ONCE int addresses_v4(__u64 of_link, struct addresses *addresses)
{
	struct net_device *link = (void *)of_link;
	struct in_ifaddr *one = BPF_CORE_READ(link, ip_ptr, ifa_list);
	int i;

	if (!addresses)
		return 0;
	for (i = 0; i < ADDRESSES && one; i++) {
		addresses->address[0].word[3] = BPF_CORE_READ(one, ifa_local);
		addresses->found[0]++;
		one = BPF_CORE_READ(one, ifa_next);
	}
	return i;
}

VERIFIED_ONCE int addresses_v6(__u64 of_link, struct addresses *addresses)
{
	struct net_device *link = (void *)of_link;
	struct inet6_dev *device = BPF_CORE_READ(link, ip6_ptr);
	struct list_head *head, *at;
	int i;

	if (!device || !addresses)
		return 0;
	head = (void *)device + bpf_core_field_offset(struct inet6_dev, addr_list);
	at = BPF_CORE_READ(head, next);
	for (i = 0; i < ADDRESSES && at && at != head; i++) {
		struct inet6_ifaddr *one =
		    (void *)at - bpf_core_field_offset(struct inet6_ifaddr, if_list);
		struct address address;

		bpf_core_read(&address, sizeof(address), &one->addr);
		if ((address.word[0] & bpf_htonl(0xffc00000)) !=
		    bpf_htonl(0xfe800000)) { /* link-local */
			addresses->address[1] = address;
			addresses->found[1]++;
		}
		at = BPF_CORE_READ(at, next);
	}
	return i;
}

/* Reads the addresses of the namespace at `net_namespace`. */
VERIFIED_ONCE int read_addresses(__u64 net_namespace, struct addresses *addresses)
{
	struct net *net = (void *)net_namespace;
	struct list_head *head = (void *)net + bpf_core_field_offset(struct net, dev_base_head);
	struct list_head *at = BPF_CORE_READ(head, next);
	int i;

	if (!addresses)
		return 0;
	addresses->address[0].word[2] = bpf_htonl(0xffff);
	for (i = 0; i < LINKS && at && at != head; i++) {
		struct net_device *link =
		    (void *)at - bpf_core_field_offset(struct net_device, dev_list);

		if (!(BPF_CORE_READ(link, flags) & IFF_LOOPBACK)) {
			addresses_v4((__u64)link, addresses);
			addresses_v6((__u64)link, addresses);
		}
		at = BPF_CORE_READ(at, next);
	}
	if (i == LINKS)
		addresses->found[0] = addresses->found[1] = LINKS;
	return i;
}

/* Finds the caller's only address of a family; false if there is not exactly one. A socket may belong
 * to another namespace than its process; then the address is unknown.
 */
static __always_inline bool find_pod_address(__u64 cookie, int family, struct address *address)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct addresses fresh = {}, *known = bpf_map_lookup_elem(&pod_addresses, &cookie);
	__u64 now = bpf_ktime_get_ns();

	if (!known || now - known->read_at > FRESH) {
		struct net *net = BPF_CORE_READ(task, nsproxy, net_ns);

		if (!net || BPF_CORE_READ(net, net_cookie) != cookie)
			return false;
		read_addresses((__u64)net, &fresh);
		fresh.read_at = now;
		bpf_map_update_elem(&pod_addresses, &cookie, &fresh, BPF_ANY);
		known = &fresh;
	}
	*address = known->address[family];
	return known->found[family] == 1;
}
