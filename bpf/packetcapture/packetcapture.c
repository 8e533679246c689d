/* Packets that a filter wants are copied to a reader, or all are counted; all go on. */
#include "lib/capture.h"
#include "lib/filter.h"

enum { INGRESS = 1, EGRESS = 2 };

struct traffic {
  u64 packets, bytes;
};
BPF_TABLE("percpu_array", u32, struct traffic, from_wire, 1);
BPF_TABLE("percpu_array", u32, struct traffic, to_wire, 1);

static __always_inline void count(const struct pkt_metadata *md) {
  u32 zero = 0;
#if PCN_EGRESS
  struct traffic *traffic = to_wire.lookup(&zero);
#else
  struct traffic *traffic = from_wire.lookup(&zero);
#endif
  if (!traffic)
    return;
  traffic->packets++;
  traffic->bytes += md->packet_len;
}

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  if (PCN_CONST(COUNT))
    count(md);
  if (!(PCN_CONST(CAPTURE) & (PCN_EGRESS ? EGRESS : INGRESS)))
    return RX_OK;
  u64 wanted = pcn_filter(ctx, FILTER), snaplen = PCN_CONST(SNAPLEN);
  if (wanted)
    capture_packet(ctx, md, wanted < snaplen ? wanted : snaplen);
  return RX_OK;
}
