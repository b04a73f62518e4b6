//! CityHash64, version 1, which CatBoost hashes categories with.

const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;
const K3: u64 = 0xc949_d7c7_509e_6557;

/// The hash of a category: the lower half of its text's hash.
pub(super) fn category(text: &str) -> u32 {
    hash(text.as_bytes()) as u32
}

/// Eight bytes from `at`.
fn fetch(s: &[u8], at: usize) -> u64 {
    let mut raw = [0; 8];
    raw.copy_from_slice(&s[at..at + 8]);
    u64::from_le_bytes(raw)
}

fn fetch_half(s: &[u8], at: usize) -> u64 {
    let mut raw = [0; 4];
    raw.copy_from_slice(&s[at..at + 4]);
    u64::from(u32::from_le_bytes(raw))
}

fn mix(v: u64) -> u64 {
    v ^ v >> 47
}

fn join(u: u64, v: u64) -> u64 {
    const K: u64 = 0x9ddf_ea08_eb38_2d69;
    let a = mix((u ^ v).wrapping_mul(K));
    mix((v ^ a).wrapping_mul(K)).wrapping_mul(K)
}

fn hash(s: &[u8]) -> u64 {
    match s.len() {
        0 => K2,
        n @ 1..=3 => {
            let y = u64::from(s[0]) + (u64::from(s[n >> 1]) << 8);
            let z = n as u64 + (u64::from(s[n - 1]) << 2);
            mix(y.wrapping_mul(K2) ^ z.wrapping_mul(K3)).wrapping_mul(K2)
        }
        n @ 4..=8 => join((n as u64).wrapping_add(fetch_half(s, 0) << 3), fetch_half(s, n - 4)),
        n @ 9..=16 => {
            let (a, b) = (fetch(s, 0), fetch(s, n - 8));
            join(a, b.wrapping_add(n as u64).rotate_right(n as u32)) ^ b
        }
        n @ 17..=32 => {
            let a = fetch(s, 0).wrapping_mul(K1);
            let b = fetch(s, 8);
            let c = fetch(s, n - 8).wrapping_mul(K2);
            let d = fetch(s, n - 16).wrapping_mul(K0);
            join(
                a.wrapping_sub(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d),
                a.wrapping_add((b ^ K3).rotate_right(20)).wrapping_sub(c).wrapping_add(n as u64),
            )
        }
        33..=64 => medium(s),
        _ => long(s),
    }
}

fn medium(s: &[u8]) -> u64 {
    let n = s.len();
    let half = |a: u64, z: u64, next: u64, last: u64| {
        let mut a = a;
        let b = a.wrapping_add(z).rotate_right(52);
        let mut c = a.rotate_right(37);
        a = a.wrapping_add(next);
        c = c.wrapping_add(a.rotate_right(7));
        a = a.wrapping_add(last);
        (a.wrapping_add(z), b.wrapping_add(a.rotate_right(31)).wrapping_add(c))
    };
    let first = fetch(s, 0).wrapping_add((n as u64).wrapping_add(fetch(s, n - 16)).wrapping_mul(K0));
    let (vf, vs) = half(first, fetch(s, 24), fetch(s, 8), fetch(s, 16));
    let second = fetch(s, 16).wrapping_add(fetch(s, n - 32));
    let (wf, ws) = half(second, fetch(s, n - 8), fetch(s, n - 24), fetch(s, n - 16));
    let r = mix(vf.wrapping_add(ws).wrapping_mul(K2).wrapping_add(wf.wrapping_add(vs).wrapping_mul(K0)));
    mix(r.wrapping_mul(K0).wrapping_add(vs)).wrapping_mul(K2)
}

/// 32 bytes from `at`, with two seeds.
fn weak(s: &[u8], at: usize, a: u64, b: u64) -> (u64, u64) {
    let (w, x, y, z) = (fetch(s, at), fetch(s, at + 8), fetch(s, at + 16), fetch(s, at + 24));
    let mut a = a.wrapping_add(w);
    let mut b = b.wrapping_add(a).wrapping_add(z).rotate_right(21);
    let c = a;
    a = a.wrapping_add(x).wrapping_add(y);
    b = b.wrapping_add(a.rotate_right(44));
    (a.wrapping_add(z), b.wrapping_add(c))
}

fn long(s: &[u8]) -> u64 {
    let n = s.len();
    let mut x = fetch(s, 0);
    let mut y = fetch(s, n - 16) ^ K1;
    let mut z = fetch(s, n - 56) ^ K0;
    let mut v = weak(s, n - 64, n as u64, y);
    let mut w = weak(s, n - 32, (n as u64).wrapping_mul(K1), K0);
    z = z.wrapping_add(mix(v.1).wrapping_mul(K1));
    x = z.wrapping_add(x).rotate_right(39).wrapping_mul(K1);
    y = y.rotate_right(33).wrapping_mul(K1);
    for at in (0..(n - 1) & !63).step_by(64) {
        let sum = x.wrapping_add(y).wrapping_add(v.0).wrapping_add(fetch(s, at + 16));
        x = sum.rotate_right(37).wrapping_mul(K1) ^ w.1;
        y = y.wrapping_add(v.1).wrapping_add(fetch(s, at + 48)).rotate_right(42).wrapping_mul(K1) ^ v.0;
        z = (z ^ w.0).rotate_right(33);
        v = weak(s, at, v.1.wrapping_mul(K1), x.wrapping_add(w.0));
        w = weak(s, at + 32, z.wrapping_add(w.1), y);
        std::mem::swap(&mut z, &mut x);
    }
    join(join(v.0, w.0).wrapping_add(mix(y).wrapping_mul(K1)).wrapping_add(z), join(v.1, w.1).wrapping_add(x))
}
