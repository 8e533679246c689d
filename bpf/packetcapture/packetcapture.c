/* Packets that a filter wants are copied to a reader; all go on. */
#include "lib/capture.h"
#include "lib/filter.h"

enum { INGRESS = 1, EGRESS = 2 };

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  if (!(PCN_CONST(CAPTURE) & (PCN_EGRESS ? EGRESS : INGRESS)))
    return RX_OK;
  u64 wanted = pcn_filter(ctx, FILTER), snaplen = PCN_CONST(SNAPLEN);
  if (wanted)
    capture_packet(ctx, md, wanted < snaplen ? wanted : snaplen);
  return RX_OK;
}
