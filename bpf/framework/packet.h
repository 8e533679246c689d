/* What a packet is made of: its bytes, its VLAN tag. The same under TC and XDP. */
#if PCN_XDP
#define pcn_load_bytes bpf_xdp_load_bytes
#define pcn_store_bytes(ctx, offset, from, length) bpf_xdp_store_bytes(ctx, offset, from, length)
#else
#define pcn_load_bytes bpf_skb_load_bytes
#define pcn_store_bytes(ctx, offset, from, length) bpf_skb_store_bytes(ctx, offset, from, length, 0)
#endif

/* Whether `*size` is 1 to `most`, said such that every verifier sees it: in one comparison, and with what is passed on made of the
 * very register that was compared. Of two comparisons LLVM makes one on a copy, and kernels before 6.18 then do not know the bounds. */
static __always_inline bool pcn_bound(u64 *size, u64 most) {
  u64 rest = *size - 1;
  asm volatile("" : "+r"(rest));
  if (rest >= most)
    return false;
  asm volatile("" : "+r"(rest));
  *size = rest + 1;
  return true;
}

/* Make the first `bytes` of a packet lie between data and data_end, as far as it is that long. Under TC a long packet may
 * show no more than its Ethernet header there. True: it was moved, and pointers into it must be made anew. */
static __always_inline bool pcn_pull(struct CTXTYPE *ctx, u32 bytes) {
#if PCN_XDP
  return false;
#else
  u32 wanted = bytes < ctx->len ? bytes : ctx->len;
  if ((void *)(long)ctx->data + wanted <= (void *)(long)ctx->data_end)
    return false;
  return bpf_skb_pull_data(ctx, wanted) == 0;
#endif
}

/* ---- VLAN tags, the outermost one. Under TC a tag is usually beside the packet, under XDP always in it; these hide which.
 * Protocols are in network order. push and pop move the packet: pointers into it must be made anew. ---- */

struct pcn_tag {
  u16 protocol;
  u16 tci;
};

static __always_inline bool pcn_is_tag(u32 protocol) {
  return protocol == htons(ETH_P_8021Q) || protocol == htons(ETH_P_8021AD);
}

/* The tag of a packet; protocol 0 if there is none. */
static __always_inline struct pcn_tag pcn_get_tag(struct CTXTYPE *ctx) {
  struct pcn_tag tag = {};
#if !PCN_XDP
  if (ctx->vlan_present) {
    tag.protocol = ctx->vlan_proto;
    tag.tci = htons(ctx->vlan_tci);
    return tag;
  }
#endif
  if (pcn_load_bytes(ctx, 2 * ETH_ALEN, &tag, sizeof(tag)) < 0 || !pcn_is_tag(tag.protocol))
    tag.protocol = 0;
  return tag;
}

static __always_inline bool pcn_is_vlan_present(struct CTXTYPE *ctx) { return pcn_get_tag(ctx).protocol != 0; }

/* 0 to 4095, or -1 if there is no tag. */
static __always_inline int pcn_get_vlan_id(struct CTXTYPE *ctx) {
  struct pcn_tag tag = pcn_get_tag(ctx);
  return tag.protocol ? ntohs(tag.tci) & 0xfff : -1;
}

/* Of the tag, in network order, or -1 if there is no tag. */
static __always_inline int pcn_get_vlan_proto(struct CTXTYPE *ctx) {
  struct pcn_tag tag = pcn_get_tag(ctx);
  return tag.protocol ? tag.protocol : -1;
}

/* 0, or less if it could not be done. `vlan` may carry a priority in its upper bits. */
static __always_inline int pcn_vlan_push_tag(struct CTXTYPE *ctx, u16 protocol, u32 vlan) {
#if PCN_XDP
  u8 macs[2 * ETH_ALEN];
  struct pcn_tag tag = {protocol, htons(vlan)};
  if (bpf_xdp_load_bytes(ctx, 0, macs, sizeof(macs)) < 0 || bpf_xdp_adjust_head(ctx, -(int)sizeof(tag)) < 0)
    return -1;
  if (bpf_xdp_store_bytes(ctx, 0, macs, sizeof(macs)) < 0)
    return -1;
  return bpf_xdp_store_bytes(ctx, sizeof(macs), &tag, sizeof(tag));
#else
  return bpf_skb_vlan_push(ctx, protocol, vlan);
#endif
}

/* 0 also where there is no tag, or less if it could not be done. */
static __always_inline int pcn_vlan_pop_tag(struct CTXTYPE *ctx) {
#if PCN_XDP
  u8 macs[2 * ETH_ALEN];
  if (!pcn_get_tag(ctx).protocol)
    return 0;
  if (bpf_xdp_load_bytes(ctx, 0, macs, sizeof(macs)) < 0 || bpf_xdp_adjust_head(ctx, sizeof(struct pcn_tag)) < 0)
    return -1;
  return bpf_xdp_store_bytes(ctx, 0, macs, sizeof(macs));
#else
  return bpf_skb_vlan_pop(ctx);
#endif
}

/* Have a packet carry another 802.1Q tag, or none: `has` and `wants` are tags (priority and VLAN); with the bit PCN_UNTAGGED they are
 * none. False: it could not be done, and the packet must go nowhere. */
#define PCN_UNTAGGED 0x10000
static __always_inline bool pcn_retag(struct CTXTYPE *ctx, u32 has, u32 wants) {
  if (has == wants)
    return true;
  if (!(has & PCN_UNTAGGED) && pcn_vlan_pop_tag(ctx) < 0)
    return false;
  return wants & PCN_UNTAGGED || pcn_vlan_push_tag(ctx, htons(ETH_P_8021Q), wants) >= 0;
}
