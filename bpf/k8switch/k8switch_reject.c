/* The switch's µCube 3: answers what is for a service without a backend, or for no service of the cluster's. */
#include "k8switch.h"
#include "lib/balancer_reject.h"

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct parsed *is = packet_context();
  return is ? reject(ctx, md, is) : PCN_SHOT;
}
