/* µCube 0: at the door. A station that is not on the list goes to the slow path, which puts it there.
 *
 * The list is shared with the other µCube. The visits are public: any cube on the host may read who has been here.
 */
#include "doorman.h"

struct house {
  u32 guests;
};
BPF_TABLE("array", u32, struct house, house, 1);
BPF_TABLE_SHARED("hash", struct station, u32, list, 1024, "doorman");
BPF_TABLE_PUBLIC("lru_hash", struct station, u64, doorman_visits, 1024);

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct station from = {};
  u64 one = 1, *visits;
  if (pcn_load_bytes(ctx, ETH_ALEN, from.mac, sizeof(from.mac)) < 0) {
    md->reason = PCN_DROP_MALFORMED;
    return RX_DROP;
  }
  u32 *ruling = list.lookup(&from);
  if (!ruling) {
    pcn_log(ctx, LOG_DEBUG, "somebody new is at %P", md->in_port);
    return pcn_pkt_controller(ctx, md, NEWCOMER);
  }
  if (*ruling != ADMITTED)
    return RX_DROP;
  visits = doorman_visits.lookup(&from);
  if (visits)
    __sync_fetch_and_add(visits, 1);
  else
    doorman_visits.update(&from, &one);
  call_ingress_program(ctx, 1);
  return RX_DROP;
}
