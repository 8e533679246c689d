/* Two ports: frames go from 0 to 1, and back if the constant says so. */
static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  if (md->in_port && !PCN_CONST(BOTH_WAYS))
    return RX_DROP;
  return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);
}
