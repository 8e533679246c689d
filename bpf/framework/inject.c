/* How a packet comes back from the slow path: what the agent sends into a cube's hidden veth arrives here, at its far end.
 *
 * Which port and which way is in the mark (TC), or in four bytes after the packet (XDP): the port's index, plus
 * INJECT_EGRESS for what is to leave by it. A packet that enters goes through the cube's own entry and one that leaves by
 * the cube's own hops, so nothing here changes when those do.
 */
#define INJECT_EGRESS PCN_AFTER_EGRESS

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u32 where;
#if PCN_XDP
  u32 end = ctx->data_end - ctx->data - sizeof(where);
  if (bpf_xdp_load_bytes(ctx, end, &where, sizeof(where)) < 0 || bpf_xdp_adjust_tail(ctx, -(int)sizeof(where)) < 0)
    return pcn_count_drop(PCN_DROP_MALFORMED);
#else
  where = ctx->mark;
  ctx->mark = 0;
#endif
  u32 port = where & (PCN_MAX_PORTS - 1) & ~INJECT_EGRESS;
#if PCN_TRANSPARENT
  /* It has been through the cube; what is next on its way may be the host's stack, to which it is not addressed. */
#if !PCN_XDP
  bpf_skb_change_type(ctx, 0 /* PACKET_HOST */);
#endif
  return pcn_leave(ctx, 2 * port + (where & INJECT_EGRESS ? 0 : 1));
#else
  if (where & INJECT_EGRESS)
    return pcn_leave(ctx, port);
#if PCN_XDP
  u32 zero = 0, *arrival = pcn_arrival.lookup(&zero);
  if (!arrival)
    return PCN_SHOT;
  *arrival = port;
#else
  ctx->cb[0] = port;
#endif
  pcn_entry.call(ctx, 0);
  return pcn_count_drop(PCN_DROP_NOT_READY);
#endif
}
