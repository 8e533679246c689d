/* The switch's µCube 2: ICMP errors about flows of services. What quotes none is sent by fwd-table as it is. */
#include "k8switch.h"
#include "lib/balancer_icmp.h"

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct parsed *is = packet_context();
  struct switch_port *port = port_of(md->in_port);
  struct quote quote;
  u32 to[4];
  if (!is || !port)
    return refuse(md, PCN_DROP_NO_PEER);
  struct rewrite_place at = place_of(is);
  int done = NOT_TRANSLATED;
  bool to_back = false;
  pull_l4(ctx, is);
  __builtin_memcpy(to, is->dst, 16);
  if (quote_read(ctx, &at, &quote) && quote.has_ports && same_address(quote.src, is->dst)) {
    done = error_to_backend(ctx, &at, &quote, to);
    to_back = done != NOT_TRANSLATED;
    if (!to_back)
      done = error_to_client(ctx, &at, &quote, to);
  }
  if (done >= 0)
    return refuse(md, done);
  if (done == NOT_TRANSLATED) {
    struct subnets *of = subnets_of(to);
    if (is_cluster_ip(of, to) || is_virtual(of, to))
      return refuse(md, DROP_NO_FLOW);
  }
  return leave(ctx, md, port, to, done == TRANSLATED, done == TRANSLATED && !to_back);
}
