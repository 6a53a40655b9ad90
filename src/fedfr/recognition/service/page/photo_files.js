// Photos that people choose: shown here, made smaller where they are large.

import { shrunk } from "./camera.js";

const LARGE_BYTES = 3 << 20;
// The service takes 40 megapixels at most, however small the file is.
const LARGE_SIDE = 5000;
const LONGEST = 2560;

/** Return {blob, url, width, height, release()} of a file; without `url` the browser cannot show it. */
export async function picked(file) {
  let image = null;
  try {
    image = await createImageBitmap(file);
  } catch {
    return { blob: file, url: "", width: 0, height: 0, release() {} };
  }
  const { width, height } = image;
  // A copy is drawn only of large photos: the service gets others as they are.
  const large = file.size > LARGE_BYTES || Math.max(width, height) > LARGE_SIDE;
  const small = large ? await shrunk(image, width, height, LONGEST) : { blob: file, width, height };
  image.close();
  return shownPhoto(small.blob ? small : { blob: file, width, height });
}

/** Return a photo with an address for this page, until it is released. */
export function shownPhoto({ blob, width, height }) {
  const url = URL.createObjectURL(blob);
  return { blob, url, width, height, release: () => URL.revokeObjectURL(url) };
}
