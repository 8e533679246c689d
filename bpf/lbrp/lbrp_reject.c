/* The load balancer's µCube 2: answers what is for a service without a backend, and sends the answer back. */
#include "lbrp.h"
#include "lib/balancer_reject.h"

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct parsed *is = packet_context();
  return is ? reject(ctx, md, is) : PCN_SHOT;
}
