//! The heap of a guest: the allocator that Rust uses for this target anyway, fed differently.
//!
//! Every call runs in a fresh instance, and each growth of its memory makes the host change the protection of pages twice, which
//! interrupts the other cores: a third of what a small call costs. So the heap begins with a stretch of the initial memory, which
//! most calls never leave.

#![expect(
    unsafe_code,
    reason = "an allocator hands out raw memory; all of the work is dlmalloc's"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};
use std::ptr;

use dlmalloc::{Allocator, Dlmalloc};

#[cfg(target_feature = "atomics")]
compile_error!("this heap is for guests of one thread: leave the feature `heap` out");

/// Bytes of the heap that are there from the start. Zeros, so the component is no larger, and pages that no call touches
/// cost nothing.
const FIRST_BYTES: usize = 512 << 10;

const PAGE_BYTES: usize = 64 << 10;

#[global_allocator]
static HEAP: Heap = Heap(UnsafeCell::new(Dlmalloc::new_with_allocator(Pages {
    first: Cell::new(true),
})));

#[repr(align(16))]
struct First(UnsafeCell<[u8; FIRST_BYTES]>);

// SAFETY: a guest has one thread.
unsafe impl Sync for First {}

static FIRST: First = First(UnsafeCell::new([0; FIRST_BYTES]));

/// Where the heap gets its memory from.
struct Pages {
    /// The first stretch is still to be handed out.
    first: Cell<bool>,
}

// SAFETY: every region is handed out once: the static one guarded by `first`, others fresh from `memory.grow`, which fills them
// with zeros as the static one is.
unsafe impl Allocator for Pages {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        if self.first.replace(false) && size <= FIRST_BYTES {
            return (FIRST.0.get().cast(), FIRST_BYTES, 0);
        }
        // No more than is asked for: a guest near its limit must not be refused what it could have had.
        let pages = size.div_ceil(PAGE_BYTES);
        let before = core::arch::wasm32::memory_grow(0, pages);
        if before == usize::MAX {
            return (ptr::null_mut(), 0, 0);
        }
        let start = before * PAGE_BYTES;
        // The last bytes of the address space stay unused, or the end of the region would be address 0.
        let bytes = (pages * PAGE_BYTES).min(start.wrapping_neg().wrapping_sub(16));
        (start as *mut u8, bytes, 0)
    }

    fn remap(&self, _: *mut u8, _: usize, _: usize, _: bool) -> *mut u8 {
        ptr::null_mut()
    }

    fn free_part(&self, _: *mut u8, _: usize, _: usize) -> bool {
        false
    }

    fn free(&self, _: *mut u8, _: usize) -> bool {
        false
    }

    fn can_release_part(&self, _: u32) -> bool {
        false
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE_BYTES
    }
}

struct Heap(UnsafeCell<Dlmalloc<Pages>>);

// SAFETY: a guest has one thread.
unsafe impl Sync for Heap {}

// SAFETY: dlmalloc keeps the contract, and calls do not nest: it calls nothing but `Pages`, which does not allocate.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).malloc(layout.size(), layout.align()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        unsafe { (*self.0.get()).calloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { (*self.0.get()).free(block, layout.size(), layout.align()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        unsafe { (*self.0.get()).realloc(block, layout.size(), layout.align(), size) }
    }
}
