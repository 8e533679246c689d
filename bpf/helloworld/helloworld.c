/* Two ports: what arrives at one leaves at the other, goes to the slow path, or is dropped. */
enum { DROP, SLOWPATH, FORWARD };

BPF_TABLE("array", u32, u32, action_map, 1);

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
#if PCN_EGRESS
  pcn_log(ctx, LOG_TRACE, "[EGRESS] Packet ongoing on port %P", md->in_port);
  return RX_OK;
#else
  u32 zero = 0, *action = action_map.lookup(&zero);
  pcn_log(ctx, LOG_TRACE, "[INGRESS] Receiving packet from port %P", md->in_port);
  if (action && *action == FORWARD) {
    pcn_log(ctx, LOG_TRACE, "Forwarding packet to port %P", md->in_port ^ 1);
    return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);
  }
  if (action && *action == SLOWPATH)
    return pcn_pkt_controller(ctx, md, SLOWPATH);
  return RX_DROP;
#endif
}
