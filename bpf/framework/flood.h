/* Flooding: a copy to every port but the one of arrival, made in the kernel. A port whose way out is no plain
 * netdev (its peer is a cube, or transparent cubes sit on it) is led through a hidden veth pair, near and far: what
 * is sent out at the near end arrives at the far end, where the port's way out begins.
 *
 * The constant PORTS is 8, 32, 128 or 384, and every port's number is below it. The verifier follows a loop through all its turns,
 * which takes it some 45 ms for 128 of them; and a cube that gets one more port is swapped only where it crosses a step. */

/* ---- A set of ports: a bit for each. ---- */

#define PCN_PORT_WORDS (PCN_MAX_PORTS / 64)
struct pcn_ports {
  u64 word[PCN_PORT_WORDS];
};

/* The compiler is not to know what the offset can be: of a set on the stack it would make "base | offset". The verifier knows it. */
static __always_inline bool pcn_has_port(const struct pcn_ports *ports, u32 port) {
  u64 offset = port / 64 % PCN_PORT_WORDS * sizeof(u64);
  asm volatile("" : "+r"(offset));
  return *(const u64 *)((const char *)ports + offset) >> port % 64 & 1;
}

/* Loop bound: the words of a set, 2 or 8. */
static __always_inline void pcn_unite(struct pcn_ports *into, const struct pcn_ports *a, const struct pcn_ports *b) {
  for (u32 i = 0; i < PCN_PORT_WORDS; i++)
    into->word[i] = a->word[i] | b->word[i];
}

/* Who gets a copy of a packet that is flooded to a group, and who of them gets it without a tag. */
struct pcn_group {
  struct pcn_ports members;
  struct pcn_ports untagged;
};

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

/* Flooding to a group is the TC twin's (below): XDP's broadcast can neither choose among members nor give a copy a tag. The twin stands at
 * the TC hook of each member, to which a frame is passed that came by it; one that came by a tail call takes the turn through the pair.
 * The twin begins anew with the frame, so it must be as it came. */
static __always_inline int pcn_pkt_flood_group(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct pcn_group *group, u32 has,
                                               u32 tag) {
  u32 port = md->in_port, *member = pcn_flood_xdp.lookup(&port);
  struct pcn_reentry *entry = pcn_reenter.lookup(&port);
  if (member && ctx->ingress_ifindex == *member)
    return PCN_PASS;
  if (member && entry && *member == entry->near)
    return bpf_redirect(entry->far, 0);
  return pcn_count_drop(PCN_DROP_NO_PEER);
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

struct pcn_copy {
  u32 ifindex; /* 0: none */
  u32 ingress;
};

static __always_inline void pcn_send_copy(struct CTXTYPE *ctx, const struct pcn_copy *copy) {
  if (copy->ifindex)
    bpf_clone_redirect(ctx, copy->ifindex, copy->ingress);
}

/* A copy for each of these ports but the last, which `last` is left to name. Loop bound: PORTS. */
static __always_inline void pcn_send_copies(struct CTXTYPE *ctx, const struct pcn_ports *to, struct pcn_copy *last) {
  u32 ports = PCN_CONST(PORTS);
  for (u32 port = 0; port < ports; port++) {
    u32 row = port;
    struct pcn_member *member = pcn_has_port(to, port) ? pcn_flood_tc.lookup(&row) : NULL;
    if (!member || member->kind != PCN_FLOOD_MEMBER)
      continue;
    pcn_send_copy(ctx, last);
    last->ifindex = member->ifindex;
    last->ingress = member->ingress;
  }
}

/* Flooding to a group: each of its members but the port of arrival gets a copy, with the tag `tag` or without one. `has` is the tag that
 * the packet has, PCN_UNTAGGED if none. Those come first that want it as it is, so its tag is changed once at most. */
static __always_inline int pcn_pkt_flood_group(struct CTXTYPE *ctx, struct pkt_metadata *md, const struct pcn_group *group, u32 has,
                                               u32 tag) {
  struct pcn_ports as_is, others;
  struct pcn_copy last = {};
  u64 rest = 0, tagged = has & PCN_UNTAGGED ? 0 : ~0ULL;
  if (tagged && !pcn_retag(ctx, has, tag))
    return pcn_count_drop(PCN_DROP_MALFORMED);
  for (u32 i = 0; i < PCN_PORT_WORDS; i++) {
    u64 members = group->members.word[i] & ~((u64)(md->in_port / 64 == i) << md->in_port % 64);
    as_is.word[i] = members & (group->untagged.word[i] ^ tagged);
    others.word[i] = members & ~as_is.word[i];
    rest |= others.word[i];
  }
  pcn_send_copies(ctx, &as_is, &last);
  if (rest) {
    pcn_send_copy(ctx, &last);
    last.ifindex = 0;
    if (!pcn_retag(ctx, tagged ? tag : PCN_UNTAGGED, tagged ? PCN_UNTAGGED : tag))
      return pcn_count_drop(PCN_DROP_MALFORMED);
    pcn_send_copies(ctx, &others, &last);
  }
  if (!last.ifindex)
    return pcn_count_drop(PCN_DROP_NO_PEER);
  return bpf_redirect(last.ifindex, last.ingress);
}
#endif
