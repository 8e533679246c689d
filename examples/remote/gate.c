/* Two ports. Frames from stations on the list are dropped, those of EtherType 0x88b5 are for the slow path, and all others cross. */
struct station {
  u8 mac[8]; /* 6 of Ethernet, and zeros */
};
BPF_TABLE("hash", struct station, u32, denied, 1024);

enum { QUESTION = 1 };

static __always_inline int handle_rx(struct CTXTYPE *ctx, struct pkt_metadata *md) {
  struct station from = {};
  u8 kind[2];
  if (pcn_load_bytes(ctx, ETH_ALEN, from.mac, ETH_ALEN) < 0 || pcn_load_bytes(ctx, 12, kind, sizeof(kind)) < 0) {
    md->reason = PCN_DROP_MALFORMED;
    return RX_DROP;
  }
  if (denied.lookup(&from))
    return RX_DROP;
  if (kind[0] == 0x88 && kind[1] == 0xb5)
    return pcn_pkt_controller(ctx, md, QUESTION);
  return pcn_pkt_redirect(ctx, md, md->in_port ^ 1);
}
