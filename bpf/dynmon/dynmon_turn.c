/* The way to one of two: the user's program, and the same one on other tables. The row says which, so writing it changes over from
 * one packet to the next. */
BPF_TABLE("array", u32, u32, dynmon_turn, 1);

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u32 zero = 0, *turn = dynmon_turn.lookup(&zero);
#if PCN_EGRESS
  if (turn && *turn)
    call_egress_program(ctx, 2);
  else
    call_egress_program(ctx, 1);
#else
  if (turn && *turn)
    call_ingress_program(ctx, 2);
  else
    call_ingress_program(ctx, 1);
#endif
  return RX_OK;
}
