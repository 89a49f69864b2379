/* An event of a TCP socket; debug/probe/events.py unpacks it. Addresses are in network order, IPv4 in four bytes. */
struct event {
	__u64 time, took; /* ns since boot; ns from the SYN on */
	__u32 netns, pid;
	__s32 error; /* of errno, of a connect that failed */
	__u16 source_port, port, family;
	__u8 state, is_answer; /* of the socket; the SYN of one that is connected to */
	__u8 source[16], destination[16];
	char command[16];
	__u32 zero;
};

RING;

static inline void read_ends(struct event *event, struct sock_common *common)
{
	struct net *net = 0;
	__u32 word = 0;
	__u16 port = 0;

	COPY(net, common->skc_net.net);
	COPY(event->netns, net->ns.inum);
	COPY(event->family, common->skc_family);
	COPY(event->source_port, common->skc_num);
	COPY(port, common->skc_dport);
	event->port = ntohs(port);
	if (event->family == AF_INET6) {
		COPY(event->source, common->skc_v6_rcv_saddr);
		COPY(event->destination, common->skc_v6_daddr);
		return;
	}
	COPY(word, common->skc_rcv_saddr);
	__builtin_memcpy(event->source, &word, 4);
	COPY(word, common->skc_daddr);
	__builtin_memcpy(event->destination, &word, 4);
}
