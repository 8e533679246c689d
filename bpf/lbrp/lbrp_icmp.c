/* The load balancer's µCube 1: ICMP errors about its flows. What quotes no flow of a service passes as it is. */
#include "lbrp.h"
#include "lib/balancer_icmp.h"

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct parsed *is = packet_context();
  struct lb_port *port = port_of(md->in_port);
  struct quote quote;
  u32 to[4];
  if (!is || !port)
    return refuse(md, PCN_DROP_NO_PEER);
  bool from_client = port->kind == PORT_FRONTEND;
  struct rewrite_place at = place_of(is);
  int done = NOT_TRANSLATED;
  pull_l4(ctx, is);
  __builtin_memcpy(to, is->dst, 16);
  if (quote_read(ctx, &at, &quote) && quote.has_ports && same_address(quote.src, is->dst))
    done = from_client ? error_to_backend(ctx, &at, &quote, to) : error_to_client(ctx, &at, &quote, to);
  if (done >= 0)
    return refuse(md, done);
  return from_client ? pcn_pkt_redirect(ctx, md, port->other) : to_client(ctx, md, port, to);
}
