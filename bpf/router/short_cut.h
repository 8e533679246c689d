/* Past the host's stack, where both of two ports are ways to it: one leads to its routing (a veth), the other's netdev is the host's own.
 *
 * Which packets may pass by is decided by the host's routing tables: those that it would route just so. All others, and whatever is
 * special about a packet, are left to the stack. XDP has no neighbours to send to, so this is of TC alone; and what has a namespace has a stack of its own.
 */
#define IPV4_FAMILY 2  /* AF_INET */
#define IPV6_FAMILY 10 /* AF_INET6 */

#if !SHORT_CUTS
#define HAS_SHORT_CUT 0
#define go_straight(ctx, port, other, way) (-1)
#define is_plain(ctx, protocol) false
#define is_from_there(ctx, back) false
#else
#define HAS_SHORT_CUT PCN_CONST(SHORT_CUT)

/* As in linux/bpf.h. BCC's own declaration lacks an argument. */
static long (*pcn_redirect_neigh)(u32 ifindex, struct bpf_redir_neigh *next, int size, u64 flags) = (void *)BPF_FUNC_redirect_neigh;

/* Out of the netdev of port `other`, if that is where the host would send what comes by `port`. -1: left to the stack, which knows what
 * to do without a neighbour's MAC, and with a packet that is too big. The neighbour's state goes on as by the stack. */
static __always_inline int go_straight(struct CTXTYPE *ctx, u32 port, u32 other, struct bpf_fib_lookup *way) {
  struct pcn_hop *from = pcn_hops.lookup(&port), *to = pcn_hops.lookup(&other);
  if (!from || from->kind != PCN_HOP_NETDEV || !to || to->kind != PCN_HOP_NETDEV)
    return -1;
  way->ifindex = from->ifindex;
  if (ctx->gso_size) {
    u32 mtu = 0;
    if (bpf_check_mtu(ctx, to->ifindex, &mtu, 0, BPF_MTU_CHK_SEGS))
      return -1;
    way->tot_len = 0; /* its segments' lengths count */
  }
  if (bpf_fib_lookup(ctx, way, sizeof(*way), 0) != BPF_FIB_LKUP_RET_SUCCESS || way->ifindex != to->ifindex)
    return -1;
  struct bpf_redir_neigh next = {.nh_family = way->family};
  __builtin_memcpy(next.ipv6_nh, way->ipv6_dst, 16); /* of either family */
  return pcn_redirect_neigh(to->ifindex, &next, sizeof(next), 0);
}

/* Whether what came by a netdev of the host's is IP, and for this station. */
static __always_inline bool is_plain(struct CTXTYPE *ctx, u32 protocol) {
  bool ip = (PCN_CONST(IPV4) && protocol == htons(ETH_P_IP)) || (PCN_CONST(IPV6) && protocol == htons(ETH_P_IPV6));
  return ip && ctx->pkt_type == 0 /* PACKET_HOST */;
}

/* Whether the host sends out by `port`'s netdev what is for who sent this. If not, the sender is forged, or the host is for it to say. */
static __always_inline bool is_from_there(struct CTXTYPE *ctx, struct bpf_fib_lookup *back) {
  back->ifindex = ctx->ifindex;
  long found = bpf_fib_lookup(ctx, back, sizeof(*back), 0);
  return (found == BPF_FIB_LKUP_RET_SUCCESS || found == BPF_FIB_LKUP_RET_NO_NEIGH) && back->ifindex == ctx->ifindex;
}
#endif

static __always_inline u32 other_of(const struct router_port *port) {
  u16 other;
  __builtin_memcpy(&other, port->other, sizeof(other));
  return other;
}

/* A port whose netdev is the host's own. */
static __always_inline bool is_hosts(const struct router_port *port) { return HAS_SHORT_CUT && port->flags & PORT_HOSTS; }

/* What is not for this router is the host's, if it came by a netdev of its own. */
static __always_inline int not_ours(struct pkt_metadata *md, const struct router_port *port, u32 reason) {
  return is_hosts(port) ? RX_OK : refuse(md, reason);
}

/* A port whose way leads to the host's stack, and that has a shorter one. */
static __always_inline bool has_short_cut(const struct router_port *port) {
  return HAS_SHORT_CUT && other_of(port) && !(port->flags & PORT_HOSTS);
}

/* A route by which a packet from the host's netdev may be taken. */
static __always_inline bool leads_inward(const struct route *route, const struct router_port *port) {
  return route && (route->kind == ROUTE_CONNECTED || route->kind == ROUTE_REMOTE) && route->port + 1 == other_of(port);
}
