/* SPDX-License-Identifier: GPL-2.0-only */
/* Fills 4,096 numbers with the same sequence and sorts them, again and again: calls, branches, loads and stores. */

enum { COUNT = 4096 };

extern unsigned arena[COUNT];

static void sort(unsigned *low, unsigned *high)
{
	while (low < high) {
		unsigned pivot = low[(high - low) / 2], *left = low, *right = high;

		while (left <= right) {
			while (*left < pivot)
				left++;
			while (*right > pivot)
				right--;
			if (left <= right) {
				unsigned kept = *left;

				*left++ = *right;
				*right-- = kept;
			}
		}
		sort(low, right);
		low = left;
	}
}

void program(long rounds)
{
	while (rounds--) {
		unsigned seed = 1;

		for (int i = 0; i < COUNT; i++)
			arena[i] = seed = seed * 1103515245 + 12345;
		sort(arena, arena + COUNT - 1);
	}
}
