/* µCube 1: inside. What is for a station that was turned away is not let out either. */
#include "doorman.h"

BPF_TABLE_SHARED("extern", struct station, u32, list, 1024, "doorman");

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct station to = {};
  if (pcn_load_bytes(ctx, 0, to.mac, sizeof(to.mac)) < 0)
    return RX_DROP;
  u32 *ruling = list.lookup(&to);
  if (ruling && *ruling == TURNED_AWAY)
    return RX_DROP;
  return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);
}
