/* The kernel's connection tracking as programs may use it (net/netfilter/nf_conntrack_bpf.c and
 * nf_nat_bpf.c, Linux 6.1). A flow that a program enters there is translated, expires, collides and
 * is listed like every other.
 */
#pragma once

#include "maps.h"

#include <linux/in6.h>

/* Only for their names: a program never looks inside. */
struct nf_conn {
	unsigned long status;
};

struct nf_conn___init {
	struct nf_conn ct;
};

union nf_inet_addr {
	__u32 all[4];
};

enum nf_nat_manip_type { NF_NAT_MANIP_SRC, NF_NAT_MANIP_DST };

/* As long as every kernel takes it; newer ones also take a longer one. */
struct bpf_ct_opts {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir;
	__u8 reserved[2];
};

/* Absent where the kernel has no conntrack, or its module is not loaded. */
struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
				  __u32 tuple_size, struct bpf_ct_opts *opts,
				  __u32 opts_size) __ksym __weak;
struct nf_conn___init *bpf_skb_ct_alloc(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
					__u32 tuple_size, struct bpf_ct_opts *opts,
					__u32 opts_size) __ksym __weak;
int bpf_ct_set_nat_info(struct nf_conn___init *flow, union nf_inet_addr *address, int port,
			enum nf_nat_manip_type manip) __ksym __weak;
struct nf_conn *bpf_ct_insert_entry(struct nf_conn___init *flow) __ksym __weak;
void bpf_ct_release(struct nf_conn *flow) __ksym __weak;
