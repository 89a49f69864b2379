/* The kernel's structures: of each, the fields that podwire's programs of debug/ read.
 *
 * A program finds a field by the kernel's BTF, wherever the structure has it; one that no code reads need not be there.
 * Source: include/linux/skbuff.h, netdevice.h, include/net/sock.h and net_namespace.h.
 */
#pragma once

#include <linux/in6.h>
#include <linux/types.h>

#define KERNEL __attribute__((preserve_access_index)) /* some fields of a kernel structure */

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
	char name[16]; /* IFNAMSIZ */
} KERNEL;

struct sock_common {
	__u32 skc_daddr, skc_rcv_saddr;
	__u16 skc_dport, skc_num, skc_family;
	unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
} KERNEL;

struct sock {
	struct sock_common __sk_common;
	int sk_err;
	__u16 sk_protocol;
} KERNEL;

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned char *head, *data;
	unsigned int len, tail;
	__u16 network_header;
	__be16 protocol;
} KERNEL;
