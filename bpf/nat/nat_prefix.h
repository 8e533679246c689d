/* Prefixes of IPv6 for prefixes (NPTv6, RFC 6296): stateless, and no checksum changes, since a word of the address makes up for the prefix. */
struct npt {
  u32 prefix[4], mask[4];
  u32 adjust; /* what the word makes up for, as 16 bits in network order */
  u32 in_interface; /* the word is one of the interface identifier's: the prefix is longer than 48 bits */
};
BPF_F_TABLE("lpm_trie", struct prefix6, struct npt, npt_out, 1024, BPF_F_NO_PREALLOC); /* by the prefix inside */
BPF_F_TABLE("lpm_trie", struct prefix6, struct npt, npt_in, 1024, BPF_F_NO_PREALLOC);  /* by the one outside */

static __always_inline struct npt *find_npt(const u32 *address, bool out) {
  struct prefix6 key;
  lpm_host6(&key, address);
  return out ? npt_out.lookup(&key) : npt_in.lookup(&key);
}

/* The word that makes up for it: the subnet's, or the first of the interface identifier that is not all ones (RFC 6296 3.4 and 3.5).
 * False: there is none, and the packet is to be dropped. */
static __always_inline bool npt_map(const struct npt *npt, const u32 *address, u32 *mapped) {
  u16 words[8];
  u32 at = 3;
#pragma unroll
  for (int i = 0; i < 4; i++)
    mapped[i] = (address[i] & ~npt->mask[i]) | npt->prefix[i];
  if (npt->in_interface) {
    if (!(address[2] | address[3]))
      return false;
    at = 8;
  }
  __builtin_memcpy(words, mapped, 16);
#pragma unroll
  for (int i = 7; i >= 4; i--)
    if (npt->in_interface && words[i] != 0xffff)
      at = i;
  if (at == 8 || (at == 3 && words[3] == 0xffff))
    return false;
#pragma unroll
  for (int i = 3; i < 8; i++)
    if (i == at) {
      u32 sum = (u32)words[i] + (u16)npt->adjust;
      sum = (sum & 0xffff) + (sum >> 16);
      words[i] = sum == 0xffff ? 0 : sum;
    }
  __builtin_memcpy(mapped, words, 16);
  return true;
}

/* Translated addresses add up to the same, so no checksum is touched, nor what is half done of one. */
static __always_inline bool npt_store(struct CTXTYPE *ctx, u32 l3, u32 end, const u32 *address) {
  return pcn_store_bytes(ctx, l3 + 8 + 16 * end, address, 16) == 0;
}
