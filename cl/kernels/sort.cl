/*
 * One pass of a stable least-significant-digit radix sort of u32 keys with u32 values.
 *
 * How many there are stands in device memory: n = count[at], and none at all if that exceeds
 * `capacity`. The vector is cut into `blocks`; sort_count writes how often each digit occurs in each
 * block, digit-major ([TS_DIGITS, blocks]); after an exclusive scan of that table (scan.cl)
 * sort_scatter moves every pair to its place.
 *
 *   -DTS_FAT  one work-item per block, 8-bit digits, local size 1 (CPU devices)
 *   else      TS_GROUP items per block of TS_GROUP * TS_EACH pairs, 4-bit digits
 */
#ifdef TS_FAT

#    define TS_DIGITS 256

static ulong2 block_range(uint n, uint blocks)
{
    ulong chunk = ((ulong)n + blocks - 1) / blocks, begin = get_global_id(0) * chunk;
    return (ulong2)(min((ulong)n, begin), min((ulong)n, begin + chunk));
}

kernel void sort_count(global const uint *keys, global const uint *count, uint at, uint capacity,
                       uint shift, uint blocks, global uint *table)
{
    uint n = count[at] <= capacity ? count[at] : 0;
    ulong2 range = block_range(n, blocks);
    uint seen[TS_DIGITS];
    for (uint d = 0; d < TS_DIGITS; ++d)
        seen[d] = 0;
    for (ulong i = range.x; i < range.y; ++i)
        seen[(keys[i] >> shift) & (TS_DIGITS - 1)]++;
    for (uint d = 0; d < TS_DIGITS; ++d)
        table[d * blocks + get_global_id(0)] = seen[d];
}

kernel void sort_scatter(global const uint *keys, global const uint *values,
                         global const uint *count, uint at, uint capacity, uint shift, uint blocks,
                         global const uint *table, global uint *out_keys, global uint *out_values)
{
    uint n = count[at] <= capacity ? count[at] : 0;
    ulong2 range = block_range(n, blocks);
    uint next[TS_DIGITS];
    for (uint d = 0; d < TS_DIGITS; ++d)
        next[d] = table[d * blocks + get_global_id(0)];
    for (ulong i = range.x; i < range.y; ++i) {
        uint place = next[(keys[i] >> shift) & (TS_DIGITS - 1)]++;
        out_keys[place] = keys[i];
        out_values[place] = values[i];
    }
}

#else

#    define TS_DIGITS 16
#    ifndef TS_GROUP
#        define TS_GROUP 256
#    endif
#    ifndef TS_EACH
#        define TS_EACH 8
#    endif

kernel __attribute__((reqd_work_group_size(TS_GROUP, 1, 1))) void sort_count(
    global const uint *keys, global const uint *count, uint at, uint capacity, uint shift,
    uint blocks, global uint *table)
{
    local uint seen[TS_DIGITS];
    uint n = count[at] <= capacity ? count[at] : 0, lid = (uint)get_local_id(0);
    uint block = (uint)get_group_id(0);
    ulong begin = (ulong)block * TS_GROUP * TS_EACH;
    if (lid < TS_DIGITS)
        seen[lid] = 0;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint j = 0; j < TS_EACH; ++j) {
        ulong i = begin + j * TS_GROUP + lid;
        if (i < n)
            atomic_inc(&seen[(keys[i] >> shift) & (TS_DIGITS - 1)]);
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lid < TS_DIGITS)
        table[lid * blocks + block] = seen[lid];
}

/* Each item owns TS_EACH neighbouring pairs, so a digit-major scan of the items' counts ranks the
 * block's pairs by digit, then by place: a stable order without any atomics. */
kernel __attribute__((reqd_work_group_size(TS_GROUP, 1, 1))) void sort_scatter(
    global const uint *keys, global const uint *values, global const uint *count, uint at,
    uint capacity, uint shift, uint blocks, global const uint *table, global uint *out_keys,
    global uint *out_values)
{
    local ushort seen[TS_DIGITS * TS_GROUP];
    local uint sums[TS_GROUP];
    local uint first[TS_DIGITS];
    local uint base[TS_DIGITS];
    uint n = count[at] <= capacity ? count[at] : 0, lid = (uint)get_local_id(0);
    uint block = (uint)get_group_id(0);
    ulong begin = (ulong)block * TS_GROUP * TS_EACH;
    if (begin >= n)
        return;
    for (uint d = 0; d < TS_DIGITS; ++d)
        seen[d * TS_GROUP + lid] = 0;
    if (lid < TS_DIGITS)
        base[lid] = table[lid * blocks + block];
    uint key[TS_EACH], value[TS_EACH];
    uint mine =
        begin + lid * TS_EACH < n ? min((uint)TS_EACH, (uint)(n - begin - lid * TS_EACH)) : 0;
#    pragma unroll
    for (uint j = 0; j < TS_EACH; ++j) { /* constant bounds keep the pairs in registers */
        ulong i = begin + lid * TS_EACH + j;
        if (j >= mine)
            continue;
        key[j] = keys[i];
        value[j] = values[i];
        seen[((key[j] >> shift) & (TS_DIGITS - 1)) * TS_GROUP + lid]++;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    uint sum = 0;
    for (uint j = 0; j < TS_DIGITS; ++j)
        sum += seen[lid * TS_DIGITS + j];
    sums[lid] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (uint step = 1; step < TS_GROUP; step <<= 1) {
        uint other = lid >= step ? sums[lid - step] : 0;
        barrier(CLK_LOCAL_MEM_FENCE);
        sums[lid] += other;
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    uint before = lid ? sums[lid - 1] : 0;
    for (uint j = 0; j < TS_DIGITS; ++j) {
        uint c = seen[lid * TS_DIGITS + j];
        seen[lid * TS_DIGITS + j] = (ushort)before;
        before += c;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lid < TS_DIGITS)
        first[lid] = seen[lid * TS_GROUP];
    barrier(CLK_LOCAL_MEM_FENCE);
#    pragma unroll
    for (uint j = 0; j < TS_EACH; ++j) {
        if (j >= mine)
            continue;
        uint digit = (key[j] >> shift) & (TS_DIGITS - 1);
        uint place = base[digit] + seen[digit * TS_GROUP + lid]++ - first[digit];
        out_keys[place] = key[j];
        out_values[place] = value[j];
    }
}

#endif
