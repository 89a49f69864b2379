/* What differs between the two means that load these programs: libbpf (CO-RE), or bcc.
 *
 * libbpf loads what bin/compile made, and finds the kernel's fields by its BTF. bcc compiles the same text on the
 * machine, against the kernel's headers; debug/probe/compiler.py defines BY_BCC, and
 * puts this file into it.
 */
#ifdef BY_BCC

#include <net/sock.h>
#include <net/inet_sock.h>
#include <linux/tcp.h>
#include <net/request_sock.h>
#include <linux/skbuff.h>
#include <linux/netdevice.h>
#include <linux/ns_common.h>
#include <net/net_namespace.h>

#define PROGRAM(tracepoint)
#define COPY(to, from) bpf_probe_read_kernel(&(to), sizeof(to), (void *)&(from))
#define RING BPF_RINGBUF_OUTPUT(events, 256)
#define NUMBERS(name) BPF_ARRAY(name, u64, 1)
#define RECENT(name, K, V) BPF_TABLE("lru_hash", K, V, name, 8192)
#define COUNTS(name, K, V) BPF_TABLE("hash", K, V, name, 8192)
/* LOOKUP, UPDATE, DELETE and EMIT: bcc takes its calls from no macro, so compiler.py writes them. */

#else

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "../../kernel/bpf/structures.h"

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define ntohs bpf_ntohs

enum { TCP_ESTABLISHED = 1, TCP_SYN_SENT = 2, TCP_SYN_RECV = 3, TCP_CLOSE = 7, TCP_LISTEN = 10 };

struct inet_sock {
	struct sock sk;
	__be16 inet_sport;
} KERNEL;

struct minmax_sample {
	__u32 v;
} KERNEL;

struct minmax {
	struct minmax_sample s[3];
} KERNEL;

struct tcp_sock {
	__u64 bytes_acked, bytes_received;
	__u32 srtt_us, total_retrans;
	struct minmax rtt_min;
} KERNEL;

struct request_sock {
	struct sock_common __req_common;
} KERNEL;

#define PROGRAM(tracepoint) SEC("raw_tp/" #tracepoint)
#define COPY(to, from) bpf_core_read(&(to), sizeof(to), &(from))
#define MAP(name, kind, entries, K, V)                                                             \
	struct {                                                                                   \
		__uint(type, kind);                                                                \
		__uint(max_entries, entries);                                                      \
		__type(key, K);                                                                    \
		__type(value, V);                                                                  \
	} name SEC(".maps")
#define RING                                                                                       \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_RINGBUF);                                                \
		__uint(max_entries, 1 << 20);                                                      \
	} events SEC(".maps")
#define NUMBERS(name) MAP(name, BPF_MAP_TYPE_ARRAY, 1, __u32, __u64)
#define RECENT(name, K, V) MAP(name, BPF_MAP_TYPE_LRU_HASH, 8192, K, V)
#define COUNTS(name, K, V) MAP(name, BPF_MAP_TYPE_HASH, 8192, K, V)
/* Nobody is woken: who listens reads ten times a second. */
#define EMIT(event) bpf_ringbuf_output(&events, event, sizeof(*(event)), BPF_RB_NO_WAKEUP)
#define LOOKUP(map, key) bpf_map_lookup_elem(&map, key)
#define UPDATE(map, key, value) bpf_map_update_elem(&map, key, value, 0)
#define DELETE(map, key) bpf_map_delete_elem(&map, key)

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#endif

/* How many events the ring had no room for, or packets the table. */
NUMBERS(lost);

static inline void lose(void)
{
	int none = 0;
	__u64 *count = LOOKUP(lost, &none);

	if (count)
		__sync_fetch_and_add(count, 1);
}
