/* Checksums, with the arguments of the kernel's helpers: the low four bits of `flags` are the size of `old` and `new`
 * (2 or 4), or 0 if `new` is what pcn_csum_diff gave. Under XDP there are no such helpers, so they are written out; and no
 * half-done checksums, so BPF_F_PSEUDO_HDR makes no difference there. 0, or less if it could not be done. */

#define pcn_csum_diff(from, from_size, to, to_size, seed) bpf_csum_diff(from, from_size, to, to_size, seed)

/* The checksum that a sum makes: of any 64 bits. A sum over what has its right checksum in it gives 0. */
static __always_inline u16 pcn_csum_fold(u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return ~sum;
}

#if PCN_XDP

static __always_inline int pcn_csum_replace(struct CTXTYPE *ctx, u32 offset, u32 old, u32 new, u32 flags, bool l4) {
  u16 check;
  if (bpf_xdp_load_bytes(ctx, offset, &check, sizeof(check)) < 0)
    return -1;
  if (l4 && (flags & BPF_F_MARK_MANGLED_0) && !(flags & BPF_F_MARK_ENFORCE) && !check)
    return 0; /* UDP without a checksum */
  u64 sum = (u16)~check;
  switch (flags & BPF_F_HDR_FIELD_MASK) {
  case 0: sum += new; break;
  case 2: sum += (u16)~old + (u64)(u16)new; break;
  case 4: sum += (u64)(u32)~old + new; break;
  default: return -1;
  }
  check = pcn_csum_fold(sum);
  if (l4 && (flags & BPF_F_MARK_MANGLED_0) && !check)
    check = 0xffff;
  return bpf_xdp_store_bytes(ctx, offset, &check, sizeof(check));
}
#define pcn_l3_csum_replace(ctx, offset, old, new, flags) pcn_csum_replace(ctx, offset, old, new, flags, false)
#define pcn_l4_csum_replace(ctx, offset, old, new, flags) pcn_csum_replace(ctx, offset, old, new, flags, true)
#else
#define pcn_l3_csum_replace(ctx, offset, old, new, flags) bpf_l3_csum_replace(ctx, offset, old, new, flags)
#define pcn_l4_csum_replace(ctx, offset, old, new, flags) bpf_l4_csum_replace(ctx, offset, old, new, flags)
#endif
