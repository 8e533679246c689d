/* Sees what passes in either direction, and lets it pass, drops it, or sends it to the slow path. */
enum { PASS, DROP, SLOWPATH };

struct actions {
  u32 ingress;
  u32 egress;
};
BPF_TABLE("array", u32, struct actions, action_map, 1);

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u32 zero = 0;
  struct actions *actions = action_map.lookup(&zero);
  if (!actions)
    return RX_DROP;
#if PCN_EGRESS
  u32 action = actions->egress;
  pcn_log(ctx, LOG_TRACE, "[EGRESS] Packet going out");
#else
  u32 action = actions->ingress;
  pcn_log(ctx, LOG_TRACE, "[INGRESS] Packet coming in");
#endif
  if (action == PASS)
    return RX_OK;
  if (action == SLOWPATH)
    return pcn_pkt_controller(ctx, md, SLOWPATH);
  return RX_DROP;
}
