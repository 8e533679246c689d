/* Where packets go next. Row i: out of port i. Row 128 + i: after the egress program of port i (no port has a number with that bit). */
#define PCN_ROWS (PCN_MAX_PORTS > PCN_AFTER_EGRESS ? PCN_MAX_PORTS : 2 * PCN_MAX_PORTS)

enum pcn_hop_kind { PCN_HOP_NONE, PCN_HOP_PASS, PCN_HOP_NETDEV, PCN_HOP_PROGRAM };

struct pcn_hop {
  u32 kind;
  u32 ifindex; /* of PCN_HOP_NETDEV */
};
BPF_TABLE("array", u32, struct pcn_hop, pcn_hops, PCN_ROWS);
BPF_TABLE("prog", u32, u32, pcn_next, PCN_ROWS);
BPF_TABLE("percpu_array", u32, u64, pcn_drops, PCN_DROP_REASONS);

#if PCN_XDP
/* XDP has no per-packet scratch space, so the port of arrival crosses a tail call in a per-CPU slot. */
BPF_TABLE("percpu_array", u32, u32, pcn_arrival, 1);
#endif

static __always_inline int pcn_count_drop(u32 reason) {
  reason &= PCN_DROP_REASONS - 1;
  u64 *drops = pcn_drops.lookup(&reason);
  if (drops)
    (*drops)++;
  return PCN_SHOT;
}

static __always_inline int pcn_pkt_drop(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  return pcn_count_drop(md->reason);
}

/* A row that leads to a program is a verdict: what follows in the same program, or a tail call through pcn_next, is the
 * linker's. Of the row that was linked nothing is looked up: it leads there as long as this program is in force. Its verdict is
 * a constant, so that the compiler leads it past all tests of verdicts. */
static __always_inline int pcn_leave(struct CTXTYPE *ctx, u32 row) {
  if (row == PCN_LINKED_ROW)
    return PCN_NEXT;
  u32 key = row; /* so that only who looks it up puts it on the stack */
  struct pcn_hop *hop = pcn_hops.lookup(&key);
  if (!hop)
    return pcn_count_drop(PCN_DROP_NO_PEER);
  if (hop->kind == PCN_HOP_NETDEV)
    return bpf_redirect(hop->ifindex, 0);
  if (hop->kind == PCN_HOP_PROGRAM)
    return PCN_GO + row;
  if (hop->kind == PCN_HOP_PASS)
    return PCN_PASS;
  return pcn_count_drop(PCN_DROP_NO_PEER);
}

/* Send to a port, whatever its peer is. */
static __always_inline int pcn_pkt_redirect(struct CTXTYPE *ctx, struct pkt_metadata *md, u32 port) {
  return pcn_leave(ctx, port);
}
