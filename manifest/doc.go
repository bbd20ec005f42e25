// Package manifest reads streams of Kubernetes objects as people write them, finds
// the pods in them, and edits those pods in place.
//
// A Stream is YAML or JSON, one or many documents, with lists in them. Each pod in
// it (a Pod, or the template of anything that makes pods) is handed out as the JSON
// that an admission webhook would see. A JSON patch for that pod becomes edits of
// the text: what the patch does not name stays as it is, byte for byte, with its
// comments, its order and its indentation.
//
// YAML has more forms than an edit of the text can know. So every edited document
// is read again and compared with the patched JSON. Where they differ, the document
// is written anew from its parsed form, which keeps comments but not the layout;
// where that differs as well, there is an error and no output.
package manifest
