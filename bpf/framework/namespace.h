/* A cube's network namespace, if it has one (`shadow`), with a netdev for each of its ports. What sends packets there
 * includes this; the others know nothing of it. A service that gives a cube with a shadow other C files (`sources` of its Python
 * half, as the router's) has not an instruction of it in the others. */
BPF_TABLE("array", u32, struct pcn_hop, pcn_shadow, PCN_MAX_PORTS);

/* 0: there is no namespace. 1: there is. 2: it gets a copy of every packet as well (`span`). */
#define PCN_HAS_NAMESPACE PCN_CONST(SHADOW)

/* The netdev that leads to a port's one in the namespace, 0 if there is none. */
static __always_inline u32 pcn_ns_netdev(u32 port) {
  struct pcn_hop *hop = pcn_shadow.lookup(&port);
  return hop ? hop->ifindex : 0;
}

/* Send a packet to a port's netdev in the namespace. With `span`, what came by that port has been copied there already. Without a
 * namespace it is dropped; ask PCN_HAS_NAMESPACE first, and nothing of this is in the program. XDP cubes have none. */
static __always_inline int pcn_pkt_redirect_ns(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 port) {
  if (PCN_HAS_NAMESPACE == 2 && port == md->in_port)
    return PCN_SHOT;
  u32 netdev = PCN_HAS_NAMESPACE ? pcn_ns_netdev(port) : 0;
  return netdev ? bpf_redirect(netdev, 0) : pcn_count_drop(PCN_DROP_NO_PEER);
}
