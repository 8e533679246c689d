/* Forwards by port of arrival alone. A port without an action drops. */
enum { DROP = 1, SLOWPATH, FORWARD };

struct action {
  u16 action;
  u16 outport;
};
BPF_TABLE("array", u32, struct action, actions, PCN_MAX_PORTS);

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  u32 port = md->in_port; /* a pointer into md would have all of md written to the stack */
  struct action *a = actions.lookup(&port);
  if (a && a->action == FORWARD)
    return pcn_pkt_redirect(ctx, md, a->outport);
  if (a && a->action == SLOWPATH)
    return pcn_pkt_controller(ctx, md, SLOWPATH);
  return RX_DROP;
}
