/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Purgatory's check: SHA-256 (FIPS 180-4) over the segments as they lie in memory, against the digest that the loader
 * took of what it meant to load.
 */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

#define KEXEC_SEGMENT_MAX 16
#define BLOCK 64
#define DIGEST 32

struct kexec_sha_region {
	u64 start;
	u64 len;
};

/* FIPS 180-4, 4.2.2 */
static const u32 K[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

struct sha256 {
	u32 hash[8];
	u8 block[BLOCK];	/* what has come since the last whole block */
	u64 length;		/* of the message so far, in bytes */
};

static u32 rotr(u32 x, u32 n)
{
	return x >> n | x << (32 - n);
}

static u32 big_endian(const u8 *at)
{
	return (u32)at[0] << 24 | (u32)at[1] << 16 | (u32)at[2] << 8 | at[3];
}

/* 6.2.2: one block, 16 rounds at a time; of the schedule only its last 16 words are kept. */
static void sha256_block(u32 *hash, const u8 *block)
{
	u32 w[16], v[8];

	for (u32 i = 0; i < 8; i++)
		v[i] = hash[i];
	for (u32 i = 0; i < 16; i++)
		w[i] = big_endian(block + 4 * i);
	for (u32 t = 0;; t += 16) {
		/* Unrolled, the moves from one variable to the next cost nothing. */
#pragma clang loop unroll(full)
		for (u32 i = 0; i < 16; i++) {
			u32 s0 = rotr(v[0], 2) ^ rotr(v[0], 13) ^ rotr(v[0], 22);
			u32 s1 = rotr(v[4], 6) ^ rotr(v[4], 11) ^ rotr(v[4], 25);
			u32 choice = ((v[5] ^ v[6]) & v[4]) ^ v[6];
			u32 majority = ((v[0] | v[1]) & v[2]) | (v[0] & v[1]);
			u32 t1 = v[7] + s1 + choice + K[t + i] + w[i];

#pragma clang loop unroll(full)
			for (u32 j = 7; j > 0; j--)
				v[j] = v[j - 1];
			v[4] += t1;
			v[0] = t1 + s0 + majority;
		}
		if (t == 48)
			break;
#pragma clang loop unroll(full)
		for (u32 i = 0; i < 16; i++) {
			u32 w2 = w[(i + 14) % 16], w15 = w[(i + 1) % 16];

			w[i] += (rotr(w2, 17) ^ rotr(w2, 19) ^ w2 >> 10) + w[(i + 9) % 16] +
				(rotr(w15, 7) ^ rotr(w15, 18) ^ w15 >> 3);
		}
	}
	for (u32 i = 0; i < 8; i++)
		hash[i] += v[i];
}

static void sha256_update(struct sha256 *sha, const u8 *data, u64 len)
{
	while (len) {
		u64 used = sha->length % BLOCK;

		if (!used && len >= BLOCK) {
			sha256_block(sha->hash, data);
			data += BLOCK;
			len -= BLOCK;
			sha->length += BLOCK;
			continue;
		}
		sha->block[used] = *data++;
		len--;
		sha->length++;
		if (used == BLOCK - 1)
			sha256_block(sha->hash, sha->block);
	}
}

/* 5.1.1: a one bit, zeros, and the length in bits, so that whole blocks result. */
static void sha256_final(struct sha256 *sha, u8 *digest)
{
	u64 bits = sha->length * 8;
	u8 end[8], byte = 0x80;

	do {
		sha256_update(sha, &byte, 1);
		byte = 0;
	} while (sha->length % BLOCK != BLOCK - sizeof(end));
	for (u32 i = 0; i < sizeof(end); i++)
		end[i] = (u8)(bits >> (56 - 8 * i));
	sha256_update(sha, end, sizeof(end));
	for (u32 i = 0; i < DIGEST; i++)
		digest[i] = (u8)(sha->hash[i / 4] >> (24 - 8 * (i % 4)));
}

static int verify_sha256_digest(const struct kexec_sha_region *regions, const u8 *expected)
{
	struct sha256 sha;
	u8 digest[DIGEST];
	int wrong = 0;

	/* 5.3.3 */
	sha.hash[0] = 0x6a09e667;
	sha.hash[1] = 0xbb67ae85;
	sha.hash[2] = 0x3c6ef372;
	sha.hash[3] = 0xa54ff53a;
	sha.hash[4] = 0x510e527f;
	sha.hash[5] = 0x9b05688c;
	sha.hash[6] = 0x1f83d9ab;
	sha.hash[7] = 0x5be0cd19;
	sha.length = 0;
	for (u32 i = 0; i < KEXEC_SEGMENT_MAX; i++)
		sha256_update(&sha, (const u8 *)regions[i].start, regions[i].len);
	sha256_final(&sha, digest);
	for (u32 i = 0; i < DIGEST; i++)
		wrong |= digest[i] ^ expected[i];
	return wrong;
}

void purgatory(const struct kexec_sha_region *regions, const u8 *expected)
{
	if (verify_sha256_digest(regions, expected))
		for (;;)
			;
}
