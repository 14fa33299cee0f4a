import { constants } from 'node:buffer';
import { fieldError } from '@ulysses/errors';
import { native } from './from-native.js';
import { addon, type MemoryUsage, type NativeRegion } from './native.js';

/** Freed memory kept for reuse: the first touch of a fresh mapping costs ten times a warm copy. */
const RETAIN_BYTES = 2 ** 30;

/** The memory of this environment. */
export const memory = new addon.Memory(RETAIN_BYTES);

/**
 * A block of core-owned memory: zeroed, aligned to 64 bytes, never moving. It is freed when nothing uses it any
 * more: this object (until `free` or garbage collection), jobs, tensor planes, and views of it. Call `free`: the
 * garbage collector does not know how large regions are, only how large their views are.
 *
 * Bytes that a job or a step writes are not to be touched until it says that it is done; those it reads are not
 * to be written.
 */
export class Region {
  readonly sizeBytes: number;
  /** Read by the addon. */
  readonly handle: NativeRegion;
  #bytes: Uint8Array<ArrayBuffer> | null = null;
  #freed = false;

  private constructor(sizeBytes: number, handle: NativeRegion) {
    this.sizeBytes = sizeBytes;
    this.handle = handle;
  }

  /** @throws SHAPE_MISMATCH for a size that is no whole number, OVERLOADED when the system has no memory left */
  static allocate(sizeBytes: number): Region {
    return new Region(
      sizeBytes,
      native(() => memory.allocate(sizeBytes)),
    );
  }

  /**
   * Memory that tensor planes of this host and user read in place when its rows are sent to them, while there is room for
   * it, and ordinary memory otherwise. @throws like `allocate`
   */
  static allocateShared(sizeBytes: number): Region {
    return new Region(
      sizeBytes,
      native(() => memory.allocateShared(sizeBytes)),
    );
  }

  /** A region that holds a copy of `bytes`, shared while there is room: cheaper than to allocate and to write through `bytes`. */
  static copyOf(bytes: Uint8Array): Region {
    return new Region(
      bytes.byteLength,
      native(() => memory.copyOf(bytes)),
    );
  }

  /** The memory itself, not a copy. @throws UNSUPPORTED when the region is larger than a JavaScript view can be */
  get bytes(): Uint8Array<ArrayBuffer> {
    if (this.#freed) throw fieldError('SHAPE_MISMATCH', 'region', 'freed', 'a live region');
    if (this.#bytes === null) {
      if (this.sizeBytes > constants.MAX_LENGTH) {
        const expected = `at most ${constants.MAX_LENGTH} for a view in JavaScript`;
        throw fieldError('UNSUPPORTED', 'sizeBytes', this.sizeBytes, expected);
      }
      this.#bytes = new Uint8Array(native(() => this.handle.view()));
    }
    return this.#bytes;
  }

  /** `length` floats from `offsetBytes`; without a length, all that fit. The memory itself, not a copy. */
  float32(
    offsetBytes = 0,
    length = Math.floor((this.sizeBytes - offsetBytes) / 4),
  ): Float32Array<ArrayBuffer> {
    if (
      !Number.isInteger(offsetBytes) ||
      offsetBytes % 4 !== 0 ||
      offsetBytes < 0 ||
      offsetBytes > this.sizeBytes
    ) {
      throw fieldError(
        'SHAPE_MISMATCH',
        'offsetBytes',
        offsetBytes,
        `a multiple of 4 up to ${this.sizeBytes}`,
      );
    }
    const most = Math.floor((this.sizeBytes - offsetBytes) / 4);
    if (!Number.isInteger(length) || length < 0 || length > most) {
      throw fieldError('SHAPE_MISMATCH', 'length', length, `a whole number from 0 to ${most}`);
    }
    return new Float32Array(this.bytes.buffer, offsetBytes, length);
  }

  /** Gives up this object's hold on the memory. Views taken before stay valid. Does nothing the second time. */
  free(): void {
    this.#freed = true;
    this.#bytes = null;
    native(() => {
      this.handle.free();
    });
  }

  /** As `free`, and views let go of the memory too: they are empty from then on. */
  freeWithViews(): void {
    const bytes = this.#bytes;
    this.free();
    if (bytes === null) return;
    native(() => {
      this.handle.detach(bytes.buffer);
    });
  }
}

/** Memory of all regions of this environment: in use, and freed but kept for reuse. */
export function regionStats(): MemoryUsage {
  return native(() => memory.usage());
}
