/* Flooding: a copy to every port but the one of arrival, made in the kernel. A port whose way out is no plain
 * netdev (its peer is a cube, or transparent cubes sit on it) is led through a hidden veth pair, near and far: what
 * is sent out at the near end arrives at the far end, where the port's way out begins.
 *
 * The constant PORTS is 8, 32 or 128, and every port's number is below it. The verifier follows a loop through all its turns,
 * which takes it some 45 ms for 128 of them; and a cube that gets one more port is swapped only where it crosses a step. */

#if PCN_XDP
struct pcn_reentry {
  u32 near; /* 0: the port is a plain netdev */
  u32 far;
};
/* Members by port. BCC's BPF_DEVMAP, and the look-up that it leaves out. */
struct pcn_flood_xdp_table_t {
  u32 key;
  u32 leaf; /* ifindex */
  u32 *(*lookup)(u32 *);
  u64 (*redirect_map)(int, int);
  u32 max_entries;
};
__attribute__((section("maps/devmap"))) struct pcn_flood_xdp_table_t pcn_flood_xdp = {.max_entries = PCN_MAX_PORTS};
BPF_TABLE("array", u32, struct pcn_reentry, pcn_reenter, PCN_MAX_PORTS);

/* Whether there is anybody but the port of arrival: the kernel's broadcast does not tell when there was nobody.
 * Loop bound: PORTS, but it ends at the first, so that only who has nobody pays for all. in_port ^ n is each other port once,
 * the near ones first; and a number that the verifier does not know costs it far less time than a known one does. */
static __always_inline bool pcn_flood_reaches(u32 in_port) {
  u32 *found = NULL, ports = PCN_CONST(PORTS);
  for (u32 n = 1; n < ports && !found; n++) {
    u32 row = (in_port ^ n) & (PCN_MAX_PORTS - 1);
    found = pcn_flood_xdp.lookup(&row);
  }
  return found;
}

/* The broadcast leaves out the netdev of arrival. A frame that came by a tail call did not come from this port's
 * near end, so it takes one turn through the pair first: sent out at the far end it comes back in at the near end.
 * Whether there is a pair is read off the members that the broadcast goes by, so that both change in one write. */
static __always_inline int pcn_pkt_flood(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u32 port = md->in_port, *member = pcn_flood_xdp.lookup(&port);
  struct pcn_reentry *entry = pcn_reenter.lookup(&port);
  if (member && entry && *member == entry->near && ctx->ingress_ifindex != entry->near)
    return bpf_redirect(entry->far, 0);
  if (!pcn_flood_reaches(port))
    return pcn_count_drop(PCN_DROP_NO_PEER);
  return pcn_flood_xdp.redirect_map(0, BPF_F_BROADCAST | BPF_F_EXCLUDE_INGRESS);
}
#else
enum pcn_flood_kind { PCN_FLOOD_END, PCN_FLOOD_HOLE, PCN_FLOOD_MEMBER };
struct pcn_member {
  u32 kind;
  u32 ifindex;
  u32 ingress; /* 1: a hidden veth's far end, to be entered rather than left by */
};
BPF_TABLE("array", u32, struct pcn_member, pcn_flood_tc, PCN_MAX_PORTS);

/* Loop bound: PORTS. The last copy is the packet itself, so two-port cubes clone nothing. */
static __always_inline int pcn_pkt_flood(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u32 ifindex = 0, ingress = 0, ports = PCN_CONST(PORTS);
  for (u32 port = 0; port < ports; port++) {
    u32 row = port;
    struct pcn_member *member = pcn_flood_tc.lookup(&row);
    if (!member || member->kind == PCN_FLOOD_END)
      break;
    if (member->kind == PCN_FLOOD_HOLE || port == md->in_port)
      continue;
    if (ifindex)
      bpf_clone_redirect(ctx, ifindex, ingress);
    ifindex = member->ifindex;
    ingress = member->ingress;
  }
  if (!ifindex)
    return pcn_count_drop(PCN_DROP_NO_PEER);
  return bpf_redirect(ifindex, ingress);
}
#endif
