/* What is beside a cube with a network namespace: a packet that comes from there leaves by this one's way out. With `span` it is also
 * the innermost at each port: then a copy of what comes and goes there goes to the port's netdev in the namespace. */
#include "framework/namespace.h"

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
#if !PCN_XDP
  u32 netdev = pcn_ns_netdev(pcn_place(md));
  if (netdev && netdev != ctx->ingress_ifindex)
    bpf_clone_redirect(ctx, netdev, 0);
#endif
  return RX_OK;
}
